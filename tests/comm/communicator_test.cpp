// What every Communicator promises, for each backend. Compiled twice: into test_comm, where ranks
// are threads (and, where GPUs are found, NCCL with a thread for each), and with
// ORRERY_TEST_UNDER_MPI into the executable that runs under mpirun.
#include "orrery/comm/communicator.h"

#include <gtest/gtest.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <thread>

#include "collective_checks.h"
#include "orrery/base/error.h"
#include "orrery/comm/nccl_communicator.h"
#include "orrery/kernels/gpu.h"
#include "registry_checks.h"
#include "support/thread_communicator.h"
#if defined(ORRERY_TEST_UNDER_MPI)
#include "mpi_world.h"
#include "orrery/comm/mpi_communicator.h"
#endif

namespace orrery::comm {
namespace {

using Body = std::function<void(Communicator&)>;

/// A backend says why it cannot run here (empty: it can), whether sums of half precision are in
/// fp32, and runs a test body on every rank of groups of its sizes.
struct Threads {
  static constexpr bool kAccumulatesInFp32 = true;
  static std::string why_not() { return {}; }
  static void for_each_group(const Body& body) {
    for (const int n_ranks : {1, 2, 3, 4, 7}) run_as_threads(n_ranks, body);
  }
};

/// One rank for each GPU, a thread each; one GPU is a group of one.
struct Nccl {
  static constexpr bool kAccumulatesInFp32 = false;  // a ring rounds at every rank
  static std::string why_not() { return kernels::why_no_gpu(); }
  static void for_each_group(const Body& body) {
    for (int n_ranks = 1; n_ranks <= kernels::gpu_count(); n_ranks *= 2) {
      run_as_threads(n_ranks, [&body](Communicator& cpu) {
        const auto group = make_nccl_communicator(cpu, "nccl", cpu.rank());
        body(*group);
      });
    }
  }
};

#if defined(ORRERY_TEST_UNDER_MPI)
struct Mpi {
  static constexpr bool kAccumulatesInFp32 = true;
  static std::string why_not() { return {}; }
  static void for_each_group(const Body& body) {
    body(*MpiCommunicator::create(test_session().world(), "all",
                                  {.deadline = std::chrono::seconds(60)}));
  }
};

/// One rank for each GPU of this machine; ranks beyond them look on.
struct NcclUnderMpi {
  static constexpr bool kAccumulatesInFp32 = false;
  static std::string why_not() { return kernels::why_no_gpu(); }
  static void for_each_group(const Body& body) {
    const auto all = MpiCommunicator::create(test_session().world(), "all", {});
    const bool takes_part = all->rank() < kernels::gpu_count();
    const auto some = all->split(takes_part ? 0 : Communicator::kNoColour, all->rank(), "some");
    if (some) body(*make_nccl_communicator(*some, "nccl", some->rank()));
    all->barrier();
  }
};
using Backends = ::testing::Types<Mpi, NcclUnderMpi>;
#else
using Backends = ::testing::Types<Threads, Nccl>;
#endif

struct BackendNames {
  template <class Backend>
  static std::string GetName(int) {
    if (std::is_same_v<Backend, Threads>) return "Threads";
    return Backend::kAccumulatesInFp32 ? "Mpi" : "Nccl";
  }
};

template <class Backend>
class EveryCommunicator : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string reason = Backend::why_not();
    if (reason.empty()) return;
    std::cerr << "NOT RUN OVER NCCL: " << reason << "\n";
    GTEST_SKIP() << "NCCL was not tested: " << reason;
  }
};
TYPED_TEST_SUITE(EveryCommunicator, Backends, BackendNames);

TYPED_TEST(EveryCommunicator, GivesEveryOperationForEveryTypeAndSize) {
  TypeParam::for_each_group([](Communicator& group) { check_everything(group, {0, 1, 7, 1001}); });
}

TYPED_TEST(EveryCommunicator, MovesLargeTensors) {
  TypeParam::for_each_group([](Communicator& group) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      constexpr int64_t kLarge = 300007;  // beyond every eager limit
      check_all_reduce(group, type, kLarge);
      check_all_gather(group, type, kLarge);
      check_reduce_scatter(group, type, kLarge);
      check_broadcast(group, type, kLarge);
      check_gather_and_scatter(group, type, kLarge);
      check_exchange(group, type, kLarge);
    }
  });
}

TYPED_TEST(EveryCommunicator, AccumulatesHalfPrecisionInFp32) {
  if (!TypeParam::kAccumulatesInFp32) GTEST_SKIP() << "not promised by this backend";
  TypeParam::for_each_group(check_half_precision_accumulates_in_fp32);
}

TYPED_TEST(EveryCommunicator, SplitsIntoGroupsOrderedByKey) {
  TypeParam::for_each_group(check_split);
}

TYPED_TEST(EveryCommunicator, RefusesTensorsThatDoNotFitBeforeAnythingIsSent) {
  TypeParam::for_each_group(check_shape_errors);
}

TYPED_TEST(EveryCommunicator, RefusesTensorsOfAnotherDevice) {
  TypeParam::for_each_group([](Communicator& group) {
    if (group.device_type() == at::kCPU) return;
    at::Tensor x = at::zeros({3});
    EXPECT_THROW(group.all_reduce(x, ReduceOp::kSum), ShapeError);
  });
}

TYPED_TEST(EveryCommunicator, MakesTheGroupsOfAPlan) {
  TypeParam::for_each_group([](Communicator& group) {
    if (group.size() != 4) return;  // the plan is for four
    check_registry(group.split(0, group.rank(), "workers"));
  });
}

// Behind an operation of another group, whose peers come late, there is nobody to wait for.
TYPED_TEST(EveryCommunicator, CountsADeadlineFromWhenTheOperationCanBegin) {
  TypeParam::for_each_group([](Communicator& group) {
    const std::unique_ptr<Communicator> other = group.split(0, group.rank(), "other");
    if (group.size() == 1 || group.size() > 4) return;
    at::Tensor late = on(group, at::ones({4})), behind = on(group, at::ones({4}));
    group.barrier();
    other->set_deadline(std::chrono::seconds(1));
    if (group.rank() > 0) std::this_thread::sleep_for(std::chrono::seconds(2));
    group.all_reduce(late, ReduceOp::kSum);
    other->all_reduce(behind, ReduceOp::kSum);
    for (const at::Tensor& x : {late, behind}) {
      EXPECT_EQ(x.cpu()[0].template item<float>(), static_cast<float>(group.size()));
    }
    other->throw_if_failed();
  });
}

TEST(NcclCommunicator, IsRefusedWhereThereIsNone) {
  if (kernels::gpu_count() > 0) GTEST_SKIP() << "there is a GPU";
  run_as_threads(1, [](Communicator& group) {
    try {
      make_nccl_communicator(group, "workers", 0);
      ADD_FAILURE() << "a group over NCCL was made without a GPU";
    } catch (const std::exception& error) {
      EXPECT_NE(std::string(error.what()).find("expected"), std::string::npos) << error.what();
    }
  });
}

}  // namespace
}  // namespace orrery::comm
