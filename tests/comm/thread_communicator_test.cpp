#include "support/thread_communicator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "orrery/base/error.h"

namespace orrery::comm {
namespace {

using std::chrono::steady_clock;

/// Text of the error that `body` raises on rank 0 of two.
std::string error_on_rank_0(const std::function<void(Communicator&)>& body,
                            CommunicatorOptions options = {}) {
  std::string text;
  run_as_threads(
      2,
      [&](Communicator& group) {
        try {
          body(group);
        } catch (const CommError& error) {
          if (group.rank() == 0) text = error.what();
        }
      },
      options);
  return text;
}

TEST(ThreadCommunicator, NamesThePeerThatDoesNotComeToACollective) {
  const auto start = steady_clock::now();
  const std::string text = error_on_rank_0(
      [](Communicator& group) {
        at::Tensor x = at::ones({2});
        if (group.rank() == 0) group.all_reduce(x, ReduceOp::kSum);
      },
      {.deadline = std::chrono::milliseconds(100), .check_agreement = false});
  EXPECT_NE(text.find("all_reduce on threads (workers 0,1)"), std::string::npos) << text;
  EXPECT_NE(text.find("workers 1 within"), std::string::npos) << text;
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(ThreadCommunicator, NamesThePeerThatDoesNotReceive) {
  const std::string text = error_on_rank_0(
      [](Communicator& group) {
        if (group.rank() == 0) group.exchange({{1, at::ones({2})}}, {});
      },
      {.deadline = std::chrono::milliseconds(100)});
  EXPECT_NE(text.find("exchange on threads"), std::string::npos) << text;
  EXPECT_NE(text.find("workers 1 within"), std::string::npos) << text;
}

TEST(ThreadCommunicator, TellsRanksThatMeetInDifferentOperations) {
  const std::string text = error_on_rank_0(
      [](Communicator& group) {
        at::Tensor x = at::ones({2});
        if (group.rank() == 0) {
          group.all_reduce(x, ReduceOp::kSum);
        } else {
          group.broadcast(x, 0);
        }
      },
      {.check_agreement = false});
  EXPECT_NE(text.find("broadcast from worker 1"), std::string::npos) << text;
}

TEST(ThreadCommunicator, ComparesCountsBeforeACollectiveWhenAsked) {
  const std::string text = error_on_rank_0(
      [](Communicator& group) {
        at::Tensor x = at::ones({2 + group.rank()});
        group.all_reduce(x, ReduceOp::kSum);
      },
      {.check_agreement = true});
  EXPECT_NE(text.find("all_reduce of 2 fp32"), std::string::npos) << text;
  EXPECT_NE(text.find("all_reduce of 3 fp32, root or reduction 0 from worker 1"), std::string::npos)
      << text;
}

TEST(ThreadCommunicator, RefusesToGoOnAfterAFailure) {
  const std::string text = error_on_rank_0(
      [](Communicator& group) {
        if (group.rank() == 1) return;
        EXPECT_THROW(group.barrier(), CommError);
        group.barrier();
      },
      {.deadline = std::chrono::milliseconds(50), .check_agreement = false});
  EXPECT_NE(text.find("one that failed before"), std::string::npos) << text;
}

TEST(ThreadCommunicator, ShowsTheActivityOfARankThatWaits) {
  Activity activity;
  auto ranks = make_thread_communicators(2, "pair", {.activity = &activity});
  std::jthread waits([&] { ranks[0]->exchange({}, {{1, at::empty({1})}}); });

  Activity::Snapshot seen;
  const auto limit = steady_clock::now() + std::chrono::seconds(10);
  while (!seen.is_waiting && steady_clock::now() < limit) seen = activity.snapshot();
  EXPECT_EQ(seen.operation, "exchange");
  EXPECT_EQ(seen.communicator, "pair");
  EXPECT_EQ(seen.peers, std::vector<int>{1});

  ranks[1]->exchange({{0, at::ones({1})}}, {});
  waits.join();
  EXPECT_FALSE(activity.snapshot().is_waiting);
  EXPECT_EQ(activity.progress(), 2u);
}

TEST(ThreadCommunicator, RethrowsTheFirstErrorOfItsThreads) {
  EXPECT_THROW(run_as_threads(3,
                              [](Communicator& group) {
                                if (group.rank() == 1) throw CallError("planned");
                              }),
               CallError);
}

}  // namespace
}  // namespace orrery::comm
