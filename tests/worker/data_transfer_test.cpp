// Transfers between the stores of workers that are threads of this process.
#include "orrery/worker/data_transfer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "orrery/base/error.h"
#include "orrery/worker/data_store.h"
#include "support/thread_communicator.h"

namespace orrery::worker {
namespace {

/// Samples `ids` with key `tokens`: sample i has i + 1 tokens, all i.
data::SequenceBatch samples(const std::vector<uint64_t>& ids) {
  data::SequenceBatch batch;
  std::vector<int32_t> lengths;
  std::vector<at::Tensor> tokens;
  for (const uint64_t id : ids) {
    batch.meta.ids.push_back({id});
    lengths.push_back(static_cast<int32_t>(id) + 1);
    tokens.push_back(at::full({static_cast<int64_t>(id) + 1}, static_cast<int64_t>(id), at::kLong));
  }
  if (ids.empty()) return batch;
  batch.set("tokens", at::cat(tokens), data::NestedLengths::of_single(lengths));
  return batch;
}

comm::Transfer transfer(int source, std::vector<int> destinations,
                        const std::vector<uint64_t>& ids) {
  return {.source = source, .destinations = std::move(destinations), .batch = samples(ids).meta};
}

bool takes_part(const comm::Transfer& transfer, int worker) {
  return transfer.source == worker ||
         std::count(transfer.destinations.begin(), transfer.destinations.end(), worker) > 0;
}

/// Workers hold what `held` says; each then runs its part of `transfers`. `check` looks at each.
void run(const std::vector<std::vector<uint64_t>>& held,
         const std::vector<comm::Transfer>& transfers,
         const std::function<void(int worker, const DataStore&, int64_t received)>& check) {
  comm::run_as_threads(static_cast<int>(held.size()),
                       [&](comm::Communicator& workers) {
                         const int worker = workers.rank();
                         DataStore store;
                         store.put(samples(held[static_cast<size_t>(worker)]));
                         std::vector<comm::Transfer> own;
                         for (const comm::Transfer& each : transfers) {
                           if (takes_part(each, worker)) own.push_back(each);
                         }
                         const int64_t received = run_transfers(own, workers, store);
                         check(worker, store, received);
                       },
                       {.deadline = std::chrono::seconds(1)});
}

void expect_holds(const DataStore& store, const std::vector<uint64_t>& ids) {
  const data::SequenceBatch expected = samples(ids);
  EXPECT_TRUE(at::equal(store.gather(expected.meta).at("tokens"), expected.at("tokens")));
}

TEST(DataTransfer, BringsSamplesFromSeveralSources) {
  run({{1, 2}, {3}, {}}, {transfer(0, {2}, {2, 1}), transfer(1, {2}, {3})},
      [](int worker, const DataStore& store, int64_t received) {
        if (worker == 2) {
          expect_holds(store, {1, 2, 3});
          EXPECT_EQ(received, static_cast<int64_t>((2 + 3 + 4) * sizeof(int64_t)));
        } else {
          EXPECT_EQ(received, 0);
        }
      });
}

TEST(DataTransfer, CopiesToSeveralDestinationsAndKeepsTheOriginal) {
  run({{5}, {}, {}}, {transfer(0, {1, 2}, {5})},
      [](int, const DataStore& store, int64_t) { expect_holds(store, {5}); });
}

TEST(DataTransfer, GoesAroundACircle) {
  run({{1}, {2}, {3}}, {transfer(0, {1}, {1}), transfer(1, {2}, {2}), transfer(2, {0}, {3})},
      [](int worker, const DataStore& store, int64_t) {
        const auto own = static_cast<uint64_t>(worker) + 1;
        expect_holds(store, {own, own == 1 ? 3 : own - 1});
      });
}

TEST(DataTransfer, ASampleThatComesASecondTimeReplacesTheFirst) {
  run({{4, 6}, {4}}, {transfer(0, {1}, {4, 6})}, [](int, const DataStore& store, int64_t) {
    expect_holds(store, {4, 6});
  });
}

TEST(DataTransfer, WorkersOutsideDoNothing) {
  run({{1}, {}, {7}}, {transfer(0, {1}, {1})}, [](int worker, const DataStore& store, int64_t) {
    if (worker == 2) {
      EXPECT_FALSE(store.has({1}, "tokens"));
    }
  });
}

TEST(DataTransfer, NamesASampleThatIsNotThere) {
  try {
    run({{1}, {}}, {transfer(0, {1}, {2})}, [](int, const DataStore&, int64_t) {});
    FAIL() << "it was sent";
  } catch (const CallError& error) {
    EXPECT_NE(std::string(error.what()).find('2'), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("tokens"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace orrery::worker
