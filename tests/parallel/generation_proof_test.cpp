// Every layout generates the tokens of one worker, greedy and sampled: the noise depends on names
// alone, and in fp64 the logits agree to the last few bits.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <mutex>

#include "orrery/model/generator.h"
#include "shards_for_test.h"
#include "support/thread_communicator.h"
#include "training_for_test.h"

namespace orrery::parallel {
namespace {

const std::vector<int32_t> kPrompts = {3, 17, 1, 8, 21};

struct Case {
  const char* name;
  model::GenerationOptions options;
};

std::vector<Case> cases() {
  model::GenerationOptions options;
  options.max_new_tokens = 20;
  options.group_size = 3;
  options.max_batch = 4;  // sequences wait, and join while others decode
  options.stop_ids = {5};
  options.measure_entropy = true;
  model::GenerationOptions greedy = options, filtered = options;
  greedy.greedy = true;
  filtered.temperature = 1.4;
  filtered.top_k = 7;
  filtered.top_p = 0.8;
  model::GenerationOptions masked = options;
  masked.temperature = 0.8;
  masked.min_new_tokens = 6;
  masked.never_ids = {0, 9, 13, 18};  // of the vocabulary of several tensor ranks
  model::GenerationOptions crowded = options;
  crowded.stop_ids = {};
  crowded.max_cache_tokens = 96;  // of 4 x 41: sequences are preempted and resumed
  return {{"sampled", options},
          {"greedy", greedy},
          {"top-k and top-p", filtered},
          {"masked", masked},
          {"crowded", crowded}};
}

model::GenerationResult generate(const model::Decoder& decoder,
                                 const model::GenerationOptions& options) {
  const data::SequenceBatch prompts = random_batch(kPrompts);
  std::vector<model::SamplingKey> keys;
  for (uint64_t i = 0; i < kPrompts.size(); ++i)
    keys.push_back({.seed = 3, .step = 1, .sample = i});
  return model::Generator(decoder).generate(
      model::pack_tokens(prompts.at("packed_input_ids"), kPrompts), keys, options);
}

class EveryLayoutGenerates : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Proof, EveryLayoutGenerates,
                         testing::Values("plain", "bias", "qk_norm", "tied", "gemma", "gpt2",
                                         "experts", "gemma3", "olmo2", "smollm3"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST_P(EveryLayoutGenerates, TheTokensOfOneWorker) {
  const model::Architecture a = four_layers(GetParam());
  model::Decoder whole(a, at::kDouble);
  disturb(whole.parameters());
  for (const Case& wanted : cases()) {
    const model::GenerationResult expected = generate(whole, wanted.options);
    EXPECT_EQ(expected.preemptions > 0, wanted.options.max_cache_tokens > 0);
    for (const graph::Degrees& degrees : layouts(a)) {
      if (degrees.data > 1) continue;  // data ranks generate for themselves
      SCOPED_TRACE(testing::Message()
                   << wanted.name << " t" << degrees.tensor << "p" << degrees.pipe);
      std::mutex mutex;
      comm::run_as_threads(degrees.tensor * degrees.pipe, [&](comm::Communicator& all) {
        TestShard shard(a, degrees, all);
        const model::GenerationResult got = generate(*shard.decoder, wanted.options);

        const std::lock_guard lock(mutex);
        EXPECT_EQ(got.preemptions, expected.preemptions);
        ASSERT_EQ(got.sequences.size(), expected.sequences.size());
        for (size_t i = 0; i < got.sequences.size(); ++i) {
          EXPECT_EQ(got.sequences[i].tokens, expected.sequences[i].tokens) << "sequence " << i;
          EXPECT_EQ(got.sequences[i].finish, expected.sequences[i].finish);
          ASSERT_EQ(got.sequences[i].entropies.size(), expected.sequences[i].tokens.size());
          for (size_t t = 0; t < got.sequences[i].log_probs.size(); ++t) {
            EXPECT_NEAR(got.sequences[i].log_probs[t], expected.sequences[i].log_probs[t], 1e-9);
            EXPECT_NEAR(got.sequences[i].sampling_log_probs[t],
                        expected.sequences[i].sampling_log_probs[t], 1e-9);
            EXPECT_NEAR(got.sequences[i].entropies[t], expected.sequences[i].entropies[t], 1e-9);
          }
        }
      });
    }
  }
}

}  // namespace
}  // namespace orrery::parallel
