// Parameters between all pairs of layouts of up to 8 workers, on the same, overlapping or disjoint
// workers: bit for bit, with as few bytes as can be. ORRERY_FULL=1 runs every pair, otherwise a
// sample drawn with ORRERY_SEED.
#include "orrery/parallel/reallocation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <numeric>
#include <set>

#include "orrery/base/error.h"
#include "orrery/base/philox.h"
#include "orrery/graph/topology.h"
#include "shards_for_test.h"
#include "support/thread_communicator.h"
#include "three_factors.h"

namespace orrery::parallel {
namespace {

constexpr int kWorkers = 8;

struct Pair {
  graph::Layout source, destination;
};

/// `degrees` on workers of which each may be any, by lot.
graph::Layout placed(const graph::Degrees& degrees, uint64_t seed, uint64_t stream) {
  std::vector<int> all(kWorkers);
  std::iota(all.begin(), all.end(), 0);
  for (uint64_t i = kWorkers - 1; i > 0; --i) {
    std::swap(all[i], all[base::philox_below(seed, stream, i, i + 1)]);
  }
  all.resize(static_cast<size_t>(degrees.pipe * degrees.data * degrees.tensor));
  return {degrees.data, degrees.tensor, degrees.pipe, all};
}

std::vector<Pair> pairs_to_check(const model::Architecture& a) {
  std::vector<graph::Degrees> degrees;
  for (int n = 1; n <= kWorkers; ++n) {
    for (const auto& [pipe, data, tensor] : three_factors(n)) {
      if (pipe <= a.n_layers && a.n_heads % tensor == 0) degrees.push_back({pipe, data, tensor});
    }
  }
  const char* const seed_text = std::getenv("ORRERY_SEED");
  const uint64_t seed = seed_text == nullptr ? 1 : std::strtoull(seed_text, nullptr, 10);
  const bool all = std::getenv("ORRERY_FULL") != nullptr;
  std::vector<Pair> pairs;
  uint64_t number = 0;
  for (const graph::Degrees& from : degrees) {
    for (const graph::Degrees& to : degrees) {
      ++number;
      if (!all && base::philox_below(seed, 99, number, 6) != 0) continue;
      pairs.push_back({placed(from, seed, 2 * number), placed(to, seed, 2 * number + 1)});
    }
  }
  return pairs;
}

/// What moving cannot do without: elements of destination workers that they do not hold themselves.
int64_t least_sent(const Pair& pair, const model::Architecture& a) {
  using Element = std::tuple<int, int64_t, int64_t>;
  std::map<int, std::set<Element>> held;
  const auto for_each_element = [](const PlacedBlock& block, const auto& visit) {
    for (int64_t r = 0; r < block.n_rows; ++r) {
      for (int64_t c = 0; c < block.n_columns; ++c) {
        visit(Element{block.parameter, block.first_row + r, block.first_column + c});
      }
    }
  };
  for (const ShardBlocks& shard : shards_of(a, pair.source)) {
    for (const PlacedBlock& block : shard.blocks) {
      for_each_element(block, [&](const Element& e) { held[shard.worker].insert(e); });
    }
  }
  int64_t missing = 0;
  for (const ShardBlocks& shard : shards_of(a, pair.destination)) {
    for (const PlacedBlock& block : shard.blocks) {
      for_each_element(
          block, [&](const Element& e) { missing += held[shard.worker].contains(e) ? 0 : 1; });
    }
  }
  return missing;
}

model::ShardPlace place_in(const graph::Layout& layout, int worker) {
  const graph::Topology topology = graph::topology_of(layout);
  for (int rank = 0; rank < topology.size(); ++rank) {
    if (layout.workers[size_t(rank)] != worker) continue;
    const graph::Coordinate at = topology.coordinate(rank);
    return {at.pipe, layout.pipe, at.tensor, layout.tensor};
  }
  return {-1, 1, 0, 1};
}

/// The flat buffer of a worker's shard, or undefined.
at::Tensor shard_values(const model::Architecture& a, const graph::Layout& layout, int worker,
                        uint64_t seed, at::ScalarType dtype = at::kFloat) {
  const model::ShardPlace place = place_in(layout, worker);
  if (place.pipe < 0) return {};
  model::FlatParameters parameters(model::parameter_table(a, place), dtype);
  parameters.initialise(seed);
  return parameters.values();
}

class EveryPair : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Reallocation, EveryPair, testing::Values("bias", "tied"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST_P(EveryPair, MovesEveryParameterBitForBitWithTheFewestBytesThroughSmallBuckets) {
  const model::Architecture a = four_layers(GetParam());
  const std::vector<Pair> pairs = pairs_to_check(a);
  std::vector<ReallocationPlan> plans;
  for (const Pair& pair : pairs) {
    plans.push_back(plan_reallocation(shards_of(a, pair.source), shards_of(a, pair.destination),
                                      {.bucket_elements = 700, .node_of_worker = {}}));
    const ReallocationVolume volume = volume_of(plans.back());
    EXPECT_EQ(volume.on_node, least_sent(pair, a))
        << pair.source.text() << " -> " << pair.destination.text();
  }
  comm::run_as_threads(kWorkers, [&](comm::Communicator& workers) {
    for (size_t i = 0; i < pairs.size(); ++i) {
      SCOPED_TRACE(pairs[i].source.text() + " -> " + pairs[i].destination.text());
      const at::Tensor source = shard_values(a, pairs[i].source, workers.rank(), 5);
      const at::Tensor destination = shard_values(a, pairs[i].destination, workers.rank(), 6);
      const int64_t room = destination.defined() ? int64_t(destination.nbytes()) : 0;

      const ReallocationResult result =
          reallocate(plans[i], workers, source, destination, at::kFloat);

      EXPECT_LE(result.peak_bytes, 2 * 700 * 4) << "a bucket out and one in; shard " << room;
      if (destination.defined()) {
        EXPECT_TRUE(
            at::equal(destination, shard_values(a, pairs[i].destination, workers.rank(), 5)));
      }
    }
  });
  std::printf("%s: %zu pairs of layouts\n", GetParam(), pairs.size());
}

TEST(Reallocation, SendsLargeBlocksOutOfAndIntoShardsWhereTheyLie) {
  model::Architecture a = four_layers("plain");
  a.hidden_size = 256;
  a.intermediate_size = 512;
  a.n_heads = a.n_kv_heads = 4;
  a.head_dim = 64;
  const std::pair<const char*, const char*> pairs[] = {{"d1t4p1@0-3", "d4t1p1@0-3"},
                                                       {"d4t1p1@0-3", "d1t4p1@0-3"},
                                                       {"d1t2p1@0-1", "d1t4p1@0-3"},
                                                       {"d1t2p2@0-3", "d2t1p1@2-3"}};
  for (const auto& [from, to] : pairs) {
    SCOPED_TRACE(std::string(from) + " -> " + to);
    const Pair pair{graph::Layout::parse(from), graph::Layout::parse(to)};
    const auto plan = plan_reallocation(shards_of(a, pair.source), shards_of(a, pair.destination));
    comm::run_as_threads(4, [&](comm::Communicator& workers) {
      const at::Tensor source = shard_values(a, pair.source, workers.rank(), 5);
      const at::Tensor destination = shard_values(a, pair.destination, workers.rank(), 6);
      const at::Tensor old = destination.defined() ? destination.clone() : at::Tensor();

      const ReallocationResult result = reallocate(plan, workers, source, destination, at::kFloat);
      if (destination.defined()) {
        const at::Tensor fresh = shard_values(a, pair.destination, workers.rank(), 5);
        EXPECT_TRUE(at::equal(destination, fresh));
        EXPECT_LT(result.peak_bytes, int64_t(fresh.nbytes()) * 6 / 10) << "runs need no buffer";
        destination.copy_(old);
      }
      reallocate(plan, workers, source, destination, at::kFloat, 0.25);
      if (destination.defined()) {
        const at::Tensor fresh = shard_values(a, pair.destination, workers.rank(), 5);
        EXPECT_TRUE(at::allclose(destination, 0.25 * fresh + 0.75 * old, 1e-6, 1e-7));
      }
    });
  }
}

TEST(Reallocation, MixesAndConverts) {
  const model::Architecture a = four_layers("plain");
  const Pair pair{graph::Layout::parse("d2t2p1@0-3"), graph::Layout::parse("d1t1p2@3-4")};
  const auto plan = plan_reallocation(shards_of(a, pair.source), shards_of(a, pair.destination));
  comm::run_as_threads(5, [&](comm::Communicator& workers) {
    const at::Tensor source = shard_values(a, pair.source, workers.rank(), 5, at::kDouble);
    const at::Tensor destination = shard_values(a, pair.destination, workers.rank(), 6);
    const at::Tensor old = destination.defined() ? destination.clone() : at::Tensor();

    reallocate(plan, workers, source, destination, at::kFloat, 0.25);

    if (!destination.defined()) return;
    const at::Tensor fresh = shard_values(a, pair.destination, workers.rank(), 5);
    EXPECT_TRUE(at::allclose(destination, 0.25 * fresh + 0.75 * old, 1e-6, 1e-7));
  });
}

TEST(ReallocationPlan, CopiesWholeShardsInOneRunWhenLayoutsAgree) {
  const model::Architecture a = four_layers("plain");
  const auto shards = shards_of(a, graph::Layout::parse("d2t2p1@0-3"));

  const ReallocationPlan plan = plan_reallocation(shards, shards);

  EXPECT_EQ(volume_of(plan).on_node, 0);
  for (const ParameterTransfer& transfer : plan.rounds.at(0)) EXPECT_EQ(transfer.copies.size(), 1u);
}

TEST(ReallocationPlan, TakesSendersOfTheSameNodeAndSharesTheWork) {
  const model::Architecture a = four_layers("plain");
  const std::vector<int> nodes = {0, 0, 1, 1, 0, 1};

  const ReallocationPlan plan =
      plan_reallocation(shards_of(a, graph::Layout::parse("d4t1p1@0-3")),
                        shards_of(a, graph::Layout::parse("d2t1p1@4-5")),
                        {.bucket_elements = 1 << 20, .node_of_worker = nodes});

  const ReallocationVolume volume = volume_of(plan, nodes);
  const int64_t model_size = model::parameter_table(a).numel;
  EXPECT_EQ(volume.off_node, 0);
  EXPECT_EQ(volume.on_node, 2 * model_size);
  EXPECT_LT(volume.most_sent, model_size * 6 / 10) << "two workers of each node share the sending";
}

TEST(ReallocationPlan, NamesAParameterThatNoSourceHas) {
  const model::Architecture a = four_layers("plain");
  auto source = shards_of(a, graph::Layout::parse("d1t2p1@0-1"));
  source.pop_back();

  EXPECT_THROW(plan_reallocation(source, shards_of(a, graph::Layout::parse("d1@0"))), ShapeError);
}

}  // namespace
}  // namespace orrery::parallel
