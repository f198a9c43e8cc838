#include "orrery/comm/mpi_communicator.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "collective_checks.h"
#include "mpi_world.h"
#include "orrery/base/error.h"

namespace orrery::comm {
namespace {

using std::chrono::steady_clock;

std::unique_ptr<MpiCommunicator> group_of_all(CommunicatorOptions options = {}) {
  return MpiCommunicator::create(test_session().world(), "all", options);
}

TEST(MpiCommunicator, CutsWhatIsLongerThanAMessageMayBe) {
  check_everything(*group_of_all({.check_agreement = false, .max_chunk_bytes = 40}), {1, 7, 101});
}

TEST(MpiCommunicator, ComparesCountsBeforeACollectiveWhenAsked) {
  const auto group = group_of_all({.check_agreement = true});
  if (group->size() == 1) return;  // nobody to disagree with
  at::Tensor x = at::ones({2 + group->rank()});
  std::string text;
  try {
    group->all_reduce(x, ReduceOp::kSum);
  } catch (const CommError& error) {
    text = error.what();
  }
  EXPECT_NE(text.find("the ranks disagree"), std::string::npos) << text;
}

TEST(MpiCommunicator, NoticesAMessageOfAnotherSize) {
  const auto group = group_of_all({.deadline = std::chrono::seconds(20)});
  if (group->size() == 1) return;
  if (group->rank() == 0) group->exchange({{1, at::ones({3})}}, {});
  if (group->rank() == 1) {
    EXPECT_THROW(group->exchange({}, {{0, at::ones({5})}}), CommError);
  }
}

TEST(MpiCommunicator, NumbersWorkersAndLeavesTheMasterOut) {
  const NodeMap nodes = map_nodes(test_session().world());
  const auto workers = make_worker_communicator(test_session().world(), nodes, {});
  const int rank = test_session().rank();
  EXPECT_EQ(workers == nullptr, rank == 0);
  EXPECT_EQ(nodes.n_workers(), test_session().size() - 1);
  EXPECT_EQ(nodes.host_of_node.front(), test_session().host());
  if (workers) {
    EXPECT_EQ(workers->rank(), nodes.worker_of_rank[static_cast<std::size_t>(rank)]);
    check_all_gather(*workers, at::kLong, 3);
  }
}

/// The last rank comes too late; the others must have given up by then.
TEST(MpiCommunicatorDeadline, NamesThePeersOfACollectiveThatNobodyEnds) {
  constexpr auto kDeadline = std::chrono::milliseconds(300);
  Activity activity;
  const auto all = group_of_all();
  const auto group =
      group_of_all({.deadline = kDeadline, .activity = &activity, .check_agreement = false});
  const bool is_late = group->rank() == group->size() - 1;
  if (group->size() == 1) return;
  at::Tensor x = at::ones({4});
  std::string text;
  std::chrono::duration<double> waited{0};
  if (!is_late) {
    const auto start = steady_clock::now();
    try {
      group->all_reduce(x, ReduceOp::kSum);
    } catch (const CommError& error) {
      text = error.what();
    }
    waited = steady_clock::now() - start;
    EXPECT_NE(text.find("all_reduce on all (workers 0,1"), std::string::npos) << text;
    EXPECT_NE(text.find("missed the deadline"), std::string::npos) << text;
    EXPECT_NE(text.find(std::to_string(group->size() - 1)), std::string::npos) << text;
    EXPECT_GE(waited, kDeadline);
    EXPECT_LT(waited.count(), 5);
    EXPECT_FALSE(activity.snapshot().is_waiting);
  }
  all->barrier();
  if (is_late) {  // MPI may finish what the others began; they do not wait for it any more
    group->set_deadline(std::chrono::seconds(20));
    group->all_reduce(x, ReduceOp::kSum);
  }
  all->barrier();
}

TEST(MpiCommunicatorDeadline, NamesExactlyThePeersOfAnExchangeThatAreMissing) {
  const auto all = group_of_all();
  const auto group = group_of_all({.deadline = std::chrono::milliseconds(300)});
  if (group->size() < 3) return;
  const auto from = [](int peer) { return Receive{peer, at::empty({1})}; };
  std::string text;
  if (group->rank() == 0) {
    try {
      group->exchange({}, {from(1), from(2)});
    } catch (const CommError& error) {
      text = error.what();
    }
    EXPECT_NE(text.find("expected workers 2 within"), std::string::npos) << text;
  }
  if (group->rank() == 1) group->exchange({{0, at::ones({1})}}, {});
  all->barrier();
  if (group->rank() == 2) group->exchange({{0, at::ones({1})}}, {});
  all->barrier();
}

}  // namespace
}  // namespace orrery::comm
