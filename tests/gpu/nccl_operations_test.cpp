// Operations of a group over NCCL on tensors of GPUs: that they are enqueued and not waited for,
// what is ordered behind them, and what becomes of those that do not end.
#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "orrery/base/error.h"
#include "orrery/comm/dual_communicator.h"
#include "orrery/comm/nccl_communicator.h"
#include "orrery/comm/registry.h"
#include "rules.h"
#include "streams.h"
#include "support/thread_communicator.h"

namespace orrery::comm {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kRanks = 2;
constexpr auto kSoon = 300ms;  // a deadline

/// One rank: its group over NCCL, another over the host that no test breaks, and a tensor.
struct Rank {
  Communicator& host;
  std::unique_ptr<Communicator> group;
  at::Tensor x;  // [4], all rank + 1

  bool is_first() const { return host.rank() == 0; }
  void sum() { group->all_reduce(x, ReduceOp::kSum); }
  double number() const { return x.cpu()[0].item<double>(); }
};

void on_ranks(const std::function<void(Rank&)>& body, Activity* activity = nullptr) {
  run_as_threads(
      kRanks,
      [&](Communicator& host) {
        const at::Device gpu(at::kCUDA, static_cast<c10::DeviceIndex>(host.rank()));
        auto group = make_nccl_communicator(host, "gpus", host.rank());
        Rank rank{host, std::move(group), at::full({4}, host.rank() + 1.0, at::kDouble).to(gpu)};
        body(rank);
      },
      {.deadline = 60s, .activity = activity, .check_agreement = false});
}

void wait_for(const std::atomic<bool>& flag) {
  while (!flag) std::this_thread::sleep_for(1ms);
}

/// What `work` throws as a CommError; empty: nothing.
std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const CommError& error) {
    return error.what();
  }
  return {};
}

void expect_text(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in '" << text << "'";
}

/// Why the group failed, once it has.
std::string failure_of(Communicator& group) {
  const auto start = Clock::now();
  std::string error;
  while (error.empty() && Clock::now() - start < 5s) {
    error = error_of([&] { group.throw_if_failed(); });
    std::this_thread::sleep_for(1ms);
  }
  return error;
}

TEST(NcclOperations, ReturnBeforeThePeersCome) {
  std::atomic<bool> has_returned = false;
  on_ranks([&](Rank& rank) {
    rank.host.barrier();  // counters are of all ranks
    if (rank.is_first()) {
      const int64_t waits = simulated_gpu::counters().host_waits;
      rank.sum();
      EXPECT_EQ(simulated_gpu::counters().host_waits, waits);
      has_returned = true;
    } else {
      wait_for(has_returned);
      rank.sum();
    }
    EXPECT_EQ(rank.number(), 3);
  });
}

TEST(NcclOperations, ComeBeforeWhatIsEnqueuedBehindThem) {
  on_ranks([](Rank& rank) {
    at::Tensor received = at::zeros_like(rank.x), copied = at::zeros_like(rank.x), after;
    rank.host.barrier();
    const int64_t waits = simulated_gpu::counters().host_waits;
    rank.host.barrier();
    rank.sum();
    {
      at::Tensor freed = rank.x * 2;  // 6; whoever gets its memory next writes behind
      rank.group->all_reduce(freed, ReduceOp::kSum);
      after = freed + 1;
    }
    const at::Tensor next = at::full_like(rank.x, -1);
    const int peer = 1 - rank.host.rank();
    const Send send{peer, rank.x};
    const Receive receive{peer, received};
    rank.group->exchange({&send, 1}, {&receive, 1}, [&](std::size_t) { copied.copy_(received); });
    rank.x.zero_();
    rank.host.barrier();
    EXPECT_EQ(simulated_gpu::counters().host_waits, waits);
    rank.host.barrier();
    EXPECT_EQ(after.cpu()[3].item<double>(), 13);
    EXPECT_EQ(copied.cpu()[3].item<double>(), 3);
  });
}

TEST(NcclOperations, AreEndedAtTheirDeadlineAndWakeAHostThatWaits) {
  std::atomic<bool> is_over = false;
  on_ranks([&](Rank& rank) {
    if (!rank.is_first()) return wait_for(is_over);
    rank.group->set_deadline(kSoon);
    const auto start = Clock::now();
    rank.sum();
    rank.number();  // of no use
    EXPECT_GE(Clock::now() - start, kSoon);
    const std::string error = error_of([&] { rank.group->throw_if_failed(); });
    expect_text(error, "all_reduce on gpus (workers 0,1): a peer missed the deadline");
    expect_text(error, "expected workers 1 within 0.3 s");
    expect_text(error, "no end of the operation after 0.3");
    expect_text(error_of([&] { rank.sum(); }), "every operation so far succeeded");
    is_over = true;
  });
}

TEST(NcclOperations, FailTheNextOneAlsoOfTheHostsTensors) {
  std::atomic<bool> is_over = false;
  on_ranks([&](Rank& rank) {
    std::unique_ptr<Communicator> host = rank.host.split(0, rank.host.rank(), "gpus");
    if (!rank.is_first()) return wait_for(is_over);
    rank.group->set_deadline(kSoon);
    rank.sum();
    const auto group = make_dual_communicator(std::move(host), std::move(rank.group));
    std::this_thread::sleep_for(2 * kSoon);
    at::Tensor numbers = at::zeros({2});
    for (at::Tensor& x : std::vector<at::Tensor>{numbers, rank.x}) {
      expect_text(error_of([&] { group->all_reduce(x, ReduceOp::kSum); }),
                  "all_reduce on gpus (workers 0,1): a peer missed the deadline");
    }
    is_over = true;
  });
}

TEST(NcclOperations, AreSeenToHaveFailedWhateverCameOfTheirNumbers) {
  const graph::Layout layout{.tensor = 2, .workers = {0, 1}};
  const graph::Replica replica{.id = {"actor", 0}, .layout = layout};
  std::atomic<bool> is_over = false;
  on_ranks([&](Rank& rank) {
    auto workers = make_dual_communicator(rank.host.split(0, rank.host.rank(), "workers"),
                                          std::move(rank.group));
    const CommunicatorRegistry registry = CommunicatorRegistry::create(
        std::move(workers), graph::plan_communicators({replica}, kRanks));
    rank.host.barrier();  // connections are open
    if (!rank.is_first()) return wait_for(is_over);
    Communicator& tensor = registry.at(replica.id, graph::GroupKind::kTensor);
    tensor.set_deadline(kSoon);
    EXPECT_NO_THROW(registry.run_checked([] {}));
    tensor.all_reduce(rank.x, ReduceOp::kSum);
    for (const bool throws : {true, false}) {
      const auto use = [&] {
        rank.number();
        if (throws) throw CallError("the loss is not finite");
      };
      expect_text(error_of([&] { registry.run_checked(use); }), "a peer missed the deadline");
    }
    is_over = true;
  });
}

TEST(NcclOperations, AreNotBlamedForTheOnesBefore) {
  on_ranks([](Rank& rank) {
    rank.group->set_deadline(1s);
    for (int i = 0; i < 2; ++i) {
      if (!rank.is_first()) std::this_thread::sleep_for(700ms);
      rank.sum();
    }
    EXPECT_EQ(rank.number(), 6);
    rank.group->throw_if_failed();
  });
}

TEST(NcclOperations, AreNotBlamedForThoseOfAnotherGroupBeforeThem) {
  on_ranks([](Rank& rank) {
    const auto other = rank.group->split(0, rank.host.rank(), "other");
    other->set_deadline(kSoon);
    at::Tensor y = rank.x.clone();
    rank.host.barrier();
    if (!rank.is_first()) std::this_thread::sleep_for(4 * kSoon);
    rank.sum();  // which has a minute
    other->all_reduce(y, ReduceOp::kSum);
    EXPECT_EQ(rank.number(), 3);
    EXPECT_EQ(y.cpu()[0].item<double>(), 3);
    EXPECT_EQ(error_of([&] { other->throw_if_failed(); }), "");
  });
}

// The deadline of the one that stands before is what ends them both.
TEST(NcclOperations, NameWhoIsMissingInTheGroupThatWaits) {
  std::atomic<bool> is_over = false;
  on_ranks([&](Rank& rank) {
    const auto other = rank.group->split(0, rank.host.rank(), "other");
    rank.host.barrier();
    if (!rank.is_first()) return wait_for(is_over);
    rank.group->set_deadline(2 * kSoon);
    other->set_deadline(kSoon);
    at::Tensor y = rank.x.clone();
    rank.sum();
    other->all_reduce(y, ReduceOp::kSum);
    rank.number();
    expect_text(failure_of(*rank.group), "all_reduce on gpus (workers 0,1): a peer missed");
    expect_text(failure_of(*other), "all_reduce on other (workers 0,1): a peer missed");
    is_over = true;
  });
}

TEST(NcclOperations, EndTheGroupWhereNcclReportsAFailure) {
  simulated_gpu::take_broken_rules();
  on_ranks([](Rank& rank) {
    at::Tensor part =
        rank.x.narrow(0, 0, 3 + rank.host.rank());  // NCCL does not see it: this one does
    // Whoever comes last may hear of it at once.
    const std::string at_once = error_of([&] { rank.group->all_reduce(part, ReduceOp::kSum); });
    rank.number();
    expect_text(at_once.empty() ? failure_of(*rank.group) : at_once,
                "all_reduce on gpus (workers 0,1): NCCL reports");
    expect_text(error_of([&] { rank.sum(); }), "every operation so far succeeded");
  });
  EXPECT_FALSE(simulated_gpu::take_broken_rules().empty());
}

TEST(NcclOperations, EndWithTheirGroup) {
  on_ranks([](Rank& rank) {
    if (!rank.is_first()) std::this_thread::sleep_for(100ms);
    rank.sum();
    rank.group.reset();
    EXPECT_EQ(rank.number(), 3);
  });
}

TEST(NcclOperations, DoNotKeepAGroupWhosePeersDoNotCome) {
  std::atomic<bool> is_over = false;
  on_ranks([&](Rank& rank) {
    if (!rank.is_first()) return wait_for(is_over);
    rank.sum();
    rank.group.reset();
    rank.number();
    is_over = true;
  });
}

TEST(NcclOperations, AreWaitedForByTheBarrier) {
  std::atomic<bool> has_come = false;
  on_ranks([&](Rank& rank) {
    if (!rank.is_first()) {
      std::this_thread::sleep_for(100ms);
      has_come = true;
    }
    rank.group->barrier();
    EXPECT_TRUE(has_come);
  });
}

TEST(NcclOperations, AreWhatTheReportOfAHangNames) {
  Activity activity;
  std::atomic<bool> is_over = false;
  on_ranks(
      [&](Rank& rank) {
        if (!rank.is_first()) return wait_for(is_over);
        const at::Tensor got = at::zeros_like(rank.x);
        rank.group->exchange({}, {{1, got}});
        Activity::Snapshot now = activity.snapshot();
        for (const auto start = Clock::now(); !now.is_waiting && Clock::now() - start < 5s;) {
          now = activity.snapshot();
        }
        EXPECT_EQ(now.operation, "exchange");
        EXPECT_EQ(now.communicator, "gpus");
        EXPECT_EQ(now.peers, std::vector<int>{1});
        is_over = true;
      },
      &activity);
}

/// A sum that was captured on a stream of its own.
struct CapturedSum {
  explicit CapturedSum(Rank& rank)
      : stream(c10::cuda::getStreamFromPool(false, rank.x.device().index())) {
    cudaGraph_t graph = nullptr;
    rank.number();  // it is there before another stream adds to it
    const c10::cuda::CUDAStreamGuard guard(stream);
    EXPECT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    rank.sum();
    EXPECT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    EXPECT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    EXPECT_EQ(cudaGraphDestroy(graph), cudaSuccess);
  }
  // Before the group ends, which waits for it.
  ~CapturedSum() { EXPECT_EQ(cudaGraphExecDestroy(executable), cudaSuccess); }
  CapturedSum(const CapturedSum&) = delete;
  CapturedSum& operator=(const CapturedSum&) = delete;

  void run(Rank& rank) {
    const c10::cuda::CUDAStreamGuard guard(stream);
    EXPECT_EQ(cudaGraphLaunch(executable, stream), cudaSuccess);
    rank.group->watch("graph");
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  }

  c10::cuda::CUDAStream stream;
  cudaGraphExec_t executable = nullptr;
};

TEST(NcclOperations, RunInEachLaunchOfAGraph) {
  on_ranks([](Rank& rank) {
    CapturedSum sum(rank);
    for (const double expected : {3, 6}) {
      sum.run(rank);
      EXPECT_EQ(rank.number(), expected);
    }
    rank.group->throw_if_failed();
  });
}

TEST(NcclOperations, OfAGraphHaveTheDeadlineOfWhoeverLaunchesIt) {
  std::atomic<bool> is_over = false;
  on_ranks([&](Rank& rank) {
    CapturedSum sum(rank);
    if (!rank.is_first()) return wait_for(is_over);
    rank.group->set_deadline(kSoon);
    sum.run(rank);
    expect_text(error_of([&] { rank.group->throw_if_failed(); }),
                "graph on gpus (workers 0,1): a peer missed the deadline");
    is_over = true;
  });
}

TEST(NcclOperations, FailWithoutWaitingForTheGraphsOfWhoFindsIt) {
  std::atomic<bool> is_over = false;
  on_ranks([&](Rank& rank) {
    CapturedSum sum(rank);
    if (!rank.is_first()) return wait_for(is_over);
    rank.group->set_deadline(kSoon);
    const auto start = Clock::now();
    rank.sum();
    rank.number();
    expect_text(error_of([&] { rank.sum(); }), "a peer missed the deadline");
    EXPECT_LT(Clock::now() - start, 10s) << "an abort returns when no graph is left";
    is_over = true;
  });
}

}  // namespace
}  // namespace orrery::comm
