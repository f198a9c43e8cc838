// The parts of a model that shards hold: together they are the model, whatever the layout.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>

#include "orrery/model/parameter_table.h"
#include "reference_decoder.h"

namespace orrery::model {
namespace {

/// The part of `full` that a shard's parameter is.
at::Tensor part_of(const at::Tensor& full, const ParameterSpec& spec) {
  at::Tensor part = full.narrow(0, spec.first[0], spec.shape[0]);
  return spec.shape.size() < 2 ? part : part.narrow(1, spec.first[1], spec.shape[1]);
}

/// Calls check(place) for every shard of every layout of up to 4 stages and 4 tensor ranks.
template <class Check>
void for_each_place(const Architecture& a, Check&& check) {
  for (int n_pipe = 1; n_pipe <= std::min<int64_t>(4, a.n_layers); ++n_pipe) {
    for (const int n_tensor : {1, 2, 4}) {
      if (a.n_heads % n_tensor != 0 || a.intermediate_size % n_tensor != 0) continue;
      for (int pipe = 0; pipe < n_pipe; ++pipe) {
        for (int tensor = 0; tensor < n_tensor; ++tensor) {
          const ShardPlace place{pipe, n_pipe, tensor, n_tensor};
          SCOPED_TRACE(testing::Message() << "stage " << pipe << " of " << n_pipe << ", tensor "
                                          << tensor << " of " << n_tensor);
          check(place);
        }
      }
    }
  }
}

Architecture with_four_heads(const char* kind) {
  Architecture a = small_architecture(kind);
  a.n_heads = 4;
  a.n_kv_heads = 2;
  a.intermediate_size = 32;
  a.vocab_size = 37;
  return a;
}

TEST(ShardTable, EveryShardIsInitialisedAsItsPartOfTheModel) {
  for (const char* kind : kKinds) {
    const Architecture a = with_four_heads(kind);
    FlatParameters whole(parameter_table(a), at::kDouble);
    whole.initialise(5);
    for_each_place(a, [&](const ShardPlace& place) {
      FlatParameters shard(parameter_table(a, place), at::kDouble);
      shard.initialise(5);
      for (const ParameterSpec& spec : shard.table().parameters) {
        EXPECT_TRUE(at::equal(shard.leaf(spec.name), part_of(whole.leaf(spec.name), spec)))
            << spec.name;
      }
    });
  }
}

TEST(ShardTable, EveryElementIsCountedByExactlyOneShard) {
  for (const char* kind : kKinds) {
    for (const bool tied : {false, true}) {
      Architecture a = with_four_heads(kind);
      a.tie_embeddings = tied;
      std::map<std::pair<int, int>, FlatParameters> counts;
      for_each_place(a, [&](const ShardPlace& place) {
        FlatParameters& count =
            counts.try_emplace({place.n_pipe, place.n_tensor}, parameter_table(a), at::kDouble)
                .first->second;
        for (const ParameterSpec& spec : parameter_table(a, place).parameters) {
          if (!spec.is_copy) part_of(count.leaf(spec.name).detach(), spec).add_(1);
        }
      });
      for (auto& [layout, count] : counts) {
        EXPECT_TRUE(at::equal(count.values(), at::ones_like(count.values())))
            << kind << " p" << layout.first << " t" << layout.second;
      }
    }
  }
}

TEST(ShardTable, TheFirstStagesHaveTheBlocksThatAreLeftOver) {
  EXPECT_EQ(blocks_of(7, {0, 3, 0, 1}), (IndexRange{0, 3}));
  EXPECT_EQ(blocks_of(7, {1, 3, 0, 1}), (IndexRange{3, 2}));
  EXPECT_EQ(blocks_of(7, {2, 3, 0, 1}), (IndexRange{5, 2}));
}

TEST(ShardTable, AVocabularyThatDoesNotDivideGivesTheFirstRanksOneMore) {
  EXPECT_EQ(vocabulary_of(38, {0, 1, 0, 4}), (IndexRange{0, 10}));
  EXPECT_EQ(vocabulary_of(38, {0, 1, 1, 4}), (IndexRange{10, 10}));
  EXPECT_EQ(vocabulary_of(38, {0, 1, 3, 4}), (IndexRange{29, 9}));
}

TEST(ShardTable, RanksShareKeyAndValueHeadsWhenThereAreFewer) {
  EXPECT_EQ(kv_heads_of(2, {0, 1, 1, 4}), (IndexRange{0, 1}));
  EXPECT_EQ(kv_heads_of(2, {0, 1, 2, 4}), (IndexRange{1, 1}));
  EXPECT_EQ(kv_heads_of(4, {0, 1, 1, 2}), (IndexRange{2, 2}));
}

}  // namespace
}  // namespace orrery::model
