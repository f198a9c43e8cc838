// That the simulated NCCL moves data and sees what a program can do wrong with it: each mistake is
// planted here as a program would make it. Ranks are threads, each with a GPU of its own.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>
#include <nccl.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "memory.h"
#include "orders_for_test.h"
#include "rules.h"
#include "streams.h"

namespace orrery::simulated_gpu {
namespace {

constexpr int kRanks = 2;
constexpr size_t kSize = 8;

/// One rank: its group and memory on its GPU.
struct Rank {
  int rank = 0;
  ncclComm_t comm = nullptr;
  float* memory = nullptr;  // [kSize], all rank + 1
  cudaStream_t stream = nullptr;

  /// Until NCCL says that it has nothing left to do on the host.
  ncclResult_t settle() const {
    ncclResult_t state = ncclInProgress;
    while (state == ncclInProgress) ncclCommGetAsyncError(comm, &state);
    return state;
  }
  ncclResult_t sum(size_t count, ncclDataType_t type = ncclFloat32) const {
    return ncclAllReduce(memory, memory, count, type, ncclSum, comm, stream);
  }
  /// Once more, and to its end.
  void run_sum(size_t count = kSize, ncclDataType_t type = ncclFloat32) const {
    sum(count, type);
    settle();
    cudaStreamSynchronize(stream);
  }
  std::vector<float> numbers() const {
    std::vector<float> host(kSize);
    cudaMemcpy(host.data(), memory, kSize * sizeof(float), cudaMemcpyDeviceToHost);
    return host;
  }
};

ncclComm_t make_comm(const ncclUniqueId& id, int rank) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  EXPECT_EQ(ncclCommInitRankConfig(&comm, kRanks, id, rank, &config), ncclInProgress);
  return comm;
}

class SimulatedNccl : public testing::TestWithParam<Order> {
 protected:
  void SetUp() override {
    if (n_devices() < kRanks) GTEST_SKIP() << "run with SIMULATED_GPUS=2";
    set_order(GetParam());
    take_broken_rules();
  }

  /// `body` on each rank of a group. Returns the rules that were broken.
  static std::vector<std::string> on_ranks(const std::function<void(const Rank&)>& body,
                                           bool waits_until_made = true) {
    ncclUniqueId id;
    ncclGetUniqueId(&id);
    std::vector<std::thread> threads;
    for (int r = 0; r < kRanks; ++r) {
      threads.emplace_back([&, r] {
        cudaSetDevice(r);
        Rank rank{.rank = r, .comm = make_comm(id, r)};
        cudaStreamCreate(&rank.stream);
        void* memory = nullptr;
        cudaMalloc(&memory, kSize * sizeof(float));
        rank.memory = static_cast<float*>(memory);
        const std::vector<float> numbers(kSize, static_cast<float>(r + 1));
        cudaMemcpy(memory, numbers.data(), kSize * sizeof(float), cudaMemcpyHostToDevice);
        if (waits_until_made) {
          EXPECT_EQ(rank.settle(), ncclSuccess);
        }
        body(rank);
      });
    }
    for (std::thread& thread : threads) thread.join();
    return take_broken_rules();
  }

  static void expect_broken(const std::vector<std::string>& rules, const std::string& text) {
    bool is_there = false;
    for (const std::string& rule : rules) is_there |= rule.find(text) != std::string::npos;
    EXPECT_TRUE(is_there) << "no broken rule with '" << text << "' among "
                          << testing::PrintToString(rules);
  }
};

INSTANTIATE_TEST_SUITE_P(EveryOrder, SimulatedNccl, kEveryOrder, name_of);

TEST_P(SimulatedNccl, AddsUpOverRanks) {
  const auto broken = on_ranks([](const Rank& rank) {
    rank.run_sum();
    EXPECT_EQ(rank.numbers(), std::vector<float>(kSize, 3));
    EXPECT_EQ(ncclCommFinalize(rank.comm), ncclInProgress);
    EXPECT_EQ(rank.settle(), ncclSuccess);
    EXPECT_EQ(ncclCommDestroy(rank.comm), ncclSuccess);
  });
  EXPECT_EQ(broken, std::vector<std::string>());
}

TEST_P(SimulatedNccl, RunsOnARankThatDoesNotWaitWhatAnotherWaitsFor) {
  std::atomic<bool> is_over = false;
  const auto broken = on_ranks([&is_over](const Rank& rank) {
    cudaMemsetAsync(rank.memory, 0, sizeof(float), rank.stream);  // in front of what is waited for
    rank.sum(kSize);
    EXPECT_EQ(rank.settle(), ncclSuccess);
    if (rank.rank == 0) {
      cudaStreamSynchronize(rank.stream);
      EXPECT_EQ(rank.numbers(), (std::vector<float>{0, 3, 3, 3, 3, 3, 3, 3}));
      is_over = true;
    }
    while (!is_over) std::this_thread::yield();
  });
  EXPECT_EQ(broken, std::vector<std::string>());
}

TEST_P(SimulatedNccl, RunsAgainInEachLaunchOfAGraph) {
  const auto broken = on_ranks([](const Rank& rank) {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    cudaStreamBeginCapture(rank.stream, cudaStreamCaptureModeThreadLocal);
    rank.sum(kSize);
    EXPECT_EQ(rank.settle(), ncclSuccess);
    EXPECT_EQ(cudaStreamEndCapture(rank.stream, &graph), cudaSuccess);
    EXPECT_EQ(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    for (const float expected : {3.0F, 6.0F}) {
      EXPECT_EQ(cudaGraphLaunch(executable, rank.stream), cudaSuccess);
      EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
      EXPECT_EQ(rank.numbers()[0], expected);
    }
  });
  EXPECT_EQ(broken, std::vector<std::string>());
}

TEST_P(SimulatedNccl, ShowsThatAnEventBeforeASideStreamIsMissing) {
  for (const bool waits : {true, false}) {
    on_ranks([waits](const Rank& rank) {
      Rank side = rank;
      cudaStreamCreate(&side.stream);
      cudaEvent_t written = nullptr;
      cudaEventCreate(&written);
      cudaMemsetAsync(rank.memory, 0, kSize * sizeof(float), rank.stream);
      cudaEventRecord(written, rank.stream);
      if (waits) cudaStreamWaitEvent(side.stream, written, 0);

      side.run_sum();

      const bool is_late = GetParam() != Order::kEager;
      EXPECT_EQ(side.numbers()[0], waits || !is_late ? 0 : 3);
    });
  }
}

TEST_P(SimulatedNccl, SeesAnOperationBeforeTheGroupIsMade) {
  const auto broken = on_ranks([](const Rank& rank) { rank.sum(kSize); }, false);
  expect_broken(broken, "before ncclCommGetAsyncError has said");
}

TEST_P(SimulatedNccl, SeesASecondOperationBeforeTheFirstWasAccepted) {
  const auto broken = on_ranks([](const Rank& rank) {
    rank.sum(kSize);
    rank.sum(kSize);
  });
  expect_broken(broken, "before ncclCommGetAsyncError has said");
}

TEST_P(SimulatedNccl, SeesMemoryOfTheHostOrTooLittleOrOfAnotherGpu) {
  std::vector<float> host(kSize);
  expect_broken(on_ranks([&](const Rank& rank) {
                  ncclAllReduce(host.data(), host.data(), kSize, ncclFloat32, ncclSum, rank.comm,
                                rank.stream);
                }),
                "no memory of this GPU and size");
  expect_broken(on_ranks([](const Rank& rank) { rank.sum(kSize + 1); }),
                "no memory of this GPU and size");
  std::vector<float*> memory(kRanks);
  for (int device = 0; device < kRanks; ++device) {
    memory[static_cast<size_t>(device)] = static_cast<float*>(allocate(device, kSize * 4));
  }
  expect_broken(on_ranks([&](const Rank& rank) {
                  Rank wrong = rank;
                  wrong.memory = memory[static_cast<size_t>(kRanks - 1 - rank.rank)];
                  wrong.sum(kSize);
                }),
                "no memory of this GPU and size");
}

TEST_P(SimulatedNccl, SeesAnInputThatOverlapsTheOutputElsewhere) {
  const auto broken = on_ranks([](const Rank& rank) {
    const int other = kRanks - 1 - rank.rank;
    ncclAllGather(rank.memory + other, rank.memory, 1, ncclFloat32, rank.comm, rank.stream);
  });
  expect_broken(broken, "overlap");
}

TEST_P(SimulatedNccl, SeesAnotherCountOrTypeOnAnotherRank) {
  expect_broken(on_ranks([](const Rank& rank) { rank.run_sum(rank.rank == 0 ? 4 : 5); }),
                "4 elements of NCCL's type 7, reduction 0");
  expect_broken(
      on_ranks([](const Rank& rank) { rank.run_sum(4, rank.rank == 0 ? ncclFloat32 : ncclInt32); }),
      "elements of NCCL's type 2");
}

TEST_P(SimulatedNccl, SeesOperationsInAnotherOrder) {
  const auto broken = on_ranks([](const Rank& rank) {
    const auto gather = [&rank] {
      ncclAllGather(rank.memory, rank.memory + 4, 1, ncclFloat32, rank.comm, rank.stream);
      rank.settle();
      cudaStreamSynchronize(rank.stream);
    };
    if (rank.rank == 0) rank.run_sum();
    gather();
    if (rank.rank == 1) rank.run_sum();
  });
  expect_broken(broken, "operation 0 is");
}

TEST_P(SimulatedNccl, SeesAMessageOfAnotherSize) {
  const auto broken = on_ranks([](const Rank& rank) {
    if (rank.rank == 0) {
      ncclSend(rank.memory, 3, ncclFloat32, 1, rank.comm, rank.stream);
    } else {
      ncclRecv(rank.memory, 2, ncclFloat32, 0, rank.comm, rank.stream);
    }
    rank.settle();
    cudaStreamSynchronize(rank.stream);
  });
  expect_broken(broken, "send of 3 elements");
}

TEST_P(SimulatedNccl, SeesAMessageToOneselfOutsideAGroup) {
  expect_broken(on_ranks([](const Rank& rank) {
                  ncclSend(rank.memory, 1, ncclFloat32, rank.rank, rank.comm, rank.stream);
                }),
                "waits for ever");
}

TEST_P(SimulatedNccl, SeesOperationsAfterAbortAndASecondEnd) {
  const auto broken = on_ranks([](const Rank& rank) {
    ncclCommAbort(rank.comm);
    rank.sum(kSize);
    ncclCommDestroy(rank.comm);
  });
  expect_broken(broken, "all-reduce after it was aborted");
  expect_broken(broken, "destroyed after it was aborted");
}

TEST_P(SimulatedNccl, SeesTwoRanksOnOneGpu) {
  ncclUniqueId id;
  ncclGetUniqueId(&id);
  cudaSetDevice(0);
  const ncclComm_t first = make_comm(id, 0), second = make_comm(id, 1);
  ncclResult_t state = ncclSuccess;
  ncclCommGetAsyncError(first, &state);
  EXPECT_EQ(state, ncclInvalidUsage);
  ncclCommAbort(first);
  ncclCommAbort(second);
  expect_broken(take_broken_rules(), "two ranks use one GPU");
}

TEST_P(SimulatedNccl, NamesThePeerThatIsMissingAndEndsTheWaitByAbort) {
  ::setenv("SIMULATED_NCCL_PATIENCE", "0.05", 1);
  const auto broken = on_ranks([](const Rank& rank) {
    if (rank.rank == 1) return;
    rank.sum(kSize);
    rank.settle();
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(100)) {
      EXPECT_EQ(cudaStreamQuery(rank.stream), cudaErrorNotReady);
    }
    ncclCommAbort(rank.comm);
    EXPECT_EQ(cudaStreamSynchronize(rank.stream), cudaSuccess);
    EXPECT_EQ(rank.numbers()[0], 1) << "nothing was written";
  });
  ::unsetenv("SIMULATED_NCCL_PATIENCE");
  expect_broken(broken, "waits for rank 1, which does not come");
}

TEST_P(SimulatedNccl, SeesAGroupOfCallsThatWasNotBegun) {
  EXPECT_NE(ncclGroupEnd(), ncclSuccess);
  expect_broken(take_broken_rules(), "ncclGroupEnd without ncclGroupStart");
}

}  // namespace
}  // namespace orrery::simulated_gpu
