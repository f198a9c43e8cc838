// Generation against the full forward pass, one token at a time, and against itself in other
// batches.
#include "orrery/model/generator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "orrery/base/error.h"
#include "reference_decoder.h"

namespace orrery::model {
namespace {

std::vector<SamplingKey> keys_for(size_t n) {
  std::vector<SamplingKey> keys;
  for (size_t i = 0; i < n; ++i) keys.push_back({.seed = 4, .step = 2, .sample = 100 + i});
  return keys;
}

GenerationResult generate(const Decoder& decoder, const Sequences& prompts,
                          const GenerationOptions& options) {
  return Generator(decoder).generate(pack(prompts), keys_for(prompts.size()), options);
}

/// Lengths on both sides of a page and of two.
Sequences prompts_for(const Decoder& decoder) {
  return random_sequences({1, 15, 16, 17, 31, 32, 33, 5}, decoder.architecture().vocab_size);
}

void expect_same(const GenerationResult& a, const GenerationResult& b) {
  ASSERT_EQ(a.sequences.size(), b.sequences.size());
  for (size_t i = 0; i < a.sequences.size(); ++i) {
    EXPECT_EQ(a.sequences[i].tokens, b.sequences[i].tokens) << "sequence " << i;
    EXPECT_EQ(a.sequences[i].log_probs, b.sequences[i].log_probs) << "sequence " << i;
    EXPECT_EQ(a.sequences[i].sampling_log_probs, b.sequences[i].sampling_log_probs);
    EXPECT_EQ(a.sequences[i].finish, b.sequences[i].finish) << "sequence " << i;
  }
}

class EveryKindGenerates : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Generator, EveryKindGenerates, testing::ValuesIn(kKinds), test_name);

TEST_P(EveryKindGenerates, TakesTheArgmaxOfTheFullForwardPassWhenGreedy) {
  Decoder decoder = small_decoder(GetParam(), at::kDouble);
  const Sequences prompts = prompts_for(decoder);
  at::NoGradGuard no_grad;

  const GenerationResult result =
      generate(decoder, prompts, {.max_new_tokens = 20, .greedy = true});

  for (size_t i = 0; i < prompts.size(); ++i) {
    std::vector<int64_t> ids = prompts[i];
    for (const int64_t token : result.sequences[i].tokens) {
      const at::Tensor logits = decoder.logits(pack({ids}));
      EXPECT_EQ(token, logits[-1].argmax().item<int64_t>()) << "prompt " << i;
      ids.push_back(token);
    }
    EXPECT_EQ(ids.size(), prompts[i].size() + 20);
  }
}

std::vector<int64_t> with_answer(std::vector<int64_t> prompt, const GeneratedSequence& sequence) {
  prompt.insert(prompt.end(), sequence.tokens.begin(), sequence.tokens.end());
  return prompt;
}

/// Largest difference of the recorded log-probabilities from those of a forward pass over prompt
/// and answer.
double difference_from_training(Decoder& decoder, const Sequences& prompts,
                                const GenerationOptions& options) {
  const at::NoGradGuard no_grad;
  const GenerationResult result = generate(decoder, prompts, options);
  double worst = 0;
  for (size_t i = 0; i < result.sequences.size(); ++i) {
    const GeneratedSequence& sequence = result.sequences[i];
    const std::vector<int64_t>& prompt = prompts[i / size_t(options.group_size)];
    const int64_t first = static_cast<int64_t>(prompt.size()) - 1;
    const at::Tensor forced = decoder.log_probs(pack({with_answer(prompt, sequence)}),
                                                options.temperature == 0 ? 1 : options.temperature);
    worst = std::max(worst, max_difference(at::tensor(sequence.log_probs, at::kDouble),
                                           forced.narrow(0, first, forced.numel() - first)));
  }
  return worst;
}

TEST_P(EveryKindGenerates, RecordsTheLogProbsThatTrainingComputes) {
  Decoder decoder = small_decoder(GetParam(), at::kDouble);
  EXPECT_LT(difference_from_training(decoder, prompts_for(decoder),
                                     {.max_new_tokens = 40, .temperature = 0.9, .group_size = 2}),
            1e-9);
}

/// Largest difference of the recorded entropies from those of a forward pass over prompt and
/// answer.
double difference_from_entropies_of_training(Decoder& decoder, const Sequences& prompts,
                                             GenerationOptions options) {
  const at::NoGradGuard no_grad;
  options.measure_entropy = true;
  const GenerationResult result = generate(decoder, prompts, options);
  double worst = 0;
  for (size_t i = 0; i < result.sequences.size(); ++i) {
    const GeneratedSequence& sequence = result.sequences[i];
    const std::vector<int64_t>& prompt = prompts[i / size_t(options.group_size)];
    const int64_t first = static_cast<int64_t>(prompt.size()) - 1;
    const PackedTokens batch = pack({with_answer(prompt, sequence)});
    const at::Tensor forced =
        decoder
            .head_measured_log_probs(batch, decoder.hidden(batch),
                                     options.temperature == 0 ? 1 : options.temperature)
            .entropy;
    worst = std::max(worst, max_difference(at::tensor(sequence.entropies, at::kDouble),
                                           forced.narrow(0, first, forced.numel() - first)));
  }
  return worst;
}

/// One option of generation changed from a plain one.
std::vector<GenerationOptions> every_option() {
  const GenerationOptions plain{.max_new_tokens = 24, .group_size = 2, .stop_ids = {7, 8}};
  std::vector<GenerationOptions> all{plain};
  const auto with = [&](auto change) {
    all.push_back(plain);
    change(all.back());
  };
  with([](auto& o) { o.temperature = 0.6; });
  with([](auto& o) { o.temperature = 2; });
  with([](auto& o) { o.temperature = 0; });
  with([](auto& o) { o.greedy = true; });
  with([](auto& o) { o.greedy = true, o.temperature = 0.6, o.min_new_tokens = 9; });
  with([](auto& o) { o.top_k = 5; });
  with([](auto& o) { o.top_p = 0.5; });
  with([](auto& o) { o.top_k = 9, o.top_p = 0.7, o.temperature = 1.3; });
  with([](auto& o) { o.min_new_tokens = 9; });
  with([](auto& o) { o.never_ids = {0, 1, 2, 35, 36}; });
  with([](auto& o) { o.stop_ids.clear(); });
  with([](auto& o) { o.group_size = 1; });
  with([](auto& o) { o.max_batch = 3; });
  return all;
}

TEST(Generator, RecordsTheLogProbsAndEntropiesThatTrainingComputesUnderEveryOption) {
  Decoder exact = small_decoder("llama", at::kDouble), rounded = small_decoder("llama", at::kFloat);
  const Sequences prompts = prompts_for(exact);
  const std::vector<GenerationOptions> options = every_option();
  for (size_t i = 0; i < options.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "option " << i);
    EXPECT_LT(difference_from_training(exact, prompts, options[i]), 1e-9);
    EXPECT_LT(difference_from_entropies_of_training(exact, prompts, options[i]), 1e-9);
    EXPECT_LT(difference_from_training(rounded, prompts, options[i]), 1e-4);
  }
}

TEST(Generator, RecordsTheDistributionDrawnFromBesideThePolicy) {
  Decoder decoder = small_decoder("llama", at::kDouble);
  const Sequences prompts = prompts_for(decoder);
  for (const GenerationOptions& options : every_option()) {
    const bool filters =
        options.top_k < 37 || options.top_p < 1 || options.greedy || options.temperature == 0;
    for (const GeneratedSequence& s : generate(decoder, prompts, options).sequences) {
      ASSERT_EQ(s.sampling_log_probs.size(), s.tokens.size());
      for (size_t t = 0; t < s.tokens.size(); ++t) {
        const bool is_masked = !options.never_ids.empty() || int64_t(t) < options.min_new_tokens;
        if (filters || is_masked) {
          EXPECT_GT(s.sampling_log_probs[t], s.log_probs[t]);
        } else {
          EXPECT_EQ(s.sampling_log_probs[t], s.log_probs[t]);
        }
      }
    }
  }
}

TEST(Generator, NeverDrawsAMaskedToken) {
  Decoder decoder = small_decoder("llama", at::kFloat);
  GenerationOptions options{.max_new_tokens = 12, .group_size = 20};
  for (int64_t id = 0; id < 30; ++id) options.never_ids.push_back(id);
  for (const bool greedy : {false, true}) {
    options.greedy = greedy;
    for (const GeneratedSequence& s : generate(decoder, {{1, 2, 3}}, options).sequences) {
      for (const int64_t token : s.tokens) EXPECT_GE(token, 30);
    }
  }
  for (int64_t id = 30; id < 37; ++id) options.never_ids.push_back(id);
  EXPECT_THROW(generate(decoder, {{1}}, options), ConfigError) << "nothing is left";
  EXPECT_THROW(generate(decoder, {{1}}, {.never_ids = {37}}), ConfigError);
}

template <class Change>
void expect_independent_of(at::ScalarType dtype, Change&& change) {
  Decoder decoder = small_decoder("llama", dtype);
  const Sequences prompts = prompts_for(decoder);
  const GenerationOptions options{
      .max_new_tokens = 24, .temperature = 1.1, .top_p = 0.95, .group_size = 3, .stop_ids = {7}};
  const GenerationResult expected = generate(decoder, prompts, options);
  change(decoder, prompts, options, expected);
}

TEST(Generator, DrawsTheSameTokensForEveryBatchSize) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    expect_independent_of(dtype, [](const Decoder& decoder, const Sequences& prompts,
                                    GenerationOptions options, const GenerationResult& expected) {
      for (const int64_t max_batch : {1, 2, 5, 7, 13, 23}) {
        SCOPED_TRACE(max_batch);
        options.max_batch = max_batch;
        expect_same(generate(decoder, prompts, options), expected);
      }
    });
  }
}

TEST(Generator, DrawsTheSameTokensWhateverElseIsInTheBatch) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    expect_independent_of(dtype, [](const Decoder& decoder, const Sequences& prompts,
                                    GenerationOptions options, const GenerationResult& expected) {
      const std::vector<SamplingKey> keys = keys_for(prompts.size());
      options.group_size = 1;
      for (size_t i = 0; i < expected.sequences.size(); ++i) {
        SamplingKey key = keys[i / 3];
        key.first_member = i % 3;

        const GenerationResult alone = Generator(decoder).generate(
            pack({prompts[i / 3]}), std::vector<SamplingKey>{key}, options);

        EXPECT_EQ(alone.sequences[0].tokens, expected.sequences[i].tokens);
        EXPECT_EQ(alone.sequences[0].log_probs, expected.sequences[i].log_probs);
      }
    });
  }
}

TEST(Generator, DrawsOtherTokensForAnotherSeedStepSampleOrMember) {
  Decoder decoder = small_decoder("llama", at::kFloat);
  const PackedTokens prompt = pack({{1, 2, 3}});
  const auto tokens = [&](const SamplingKey& key) {
    return Generator(decoder)
        .generate(prompt, std::vector<SamplingKey>{key}, {.max_new_tokens = 30})
        .sequences[0]
        .tokens;
  };
  const std::vector<int64_t> original =
      tokens({.seed = 1, .step = 2, .sample = 3, .first_member = 4});

  EXPECT_EQ(tokens({.seed = 1, .step = 2, .sample = 3, .first_member = 4}), original);
  EXPECT_NE(tokens({.seed = 2, .step = 2, .sample = 3, .first_member = 4}), original);
  EXPECT_NE(tokens({.seed = 1, .step = 3, .sample = 3, .first_member = 4}), original);
  EXPECT_NE(tokens({.seed = 1, .step = 2, .sample = 4, .first_member = 4}), original);
  EXPECT_NE(tokens({.seed = 1, .step = 2, .sample = 3, .first_member = 5}), original);
}

TEST(Generator, StopsAtAStopIdAndKeepsIt) {
  Decoder decoder = small_decoder("llama", at::kFloat);
  const Sequences prompts{{1, 2, 3}};
  const std::vector<int64_t> free_run =
      generate(decoder, prompts, {.max_new_tokens = 10, .greedy = true}).sequences[0].tokens;

  const GeneratedSequence stopped =
      generate(decoder, prompts, {.max_new_tokens = 10, .greedy = true, .stop_ids = {free_run[3]}})
          .sequences[0];

  const auto first = std::find(free_run.begin(), free_run.end(), free_run[3]);
  EXPECT_EQ(stopped.tokens, std::vector<int64_t>(free_run.begin(), first + 1));
  EXPECT_EQ(stopped.finish, Finish::kStop);
  EXPECT_EQ(stopped.log_probs.size(), stopped.tokens.size());
}

TEST(Generator, TellsOfEachAnswerWhenItIsFinishedAndChangesNothing) {
  Decoder decoder = small_decoder("llama", at::kFloat);
  const Sequences prompts = prompts_for(decoder);
  const GenerationOptions options{.max_new_tokens = 12, .group_size = 2, .max_batch = 3};
  const GenerationResult expected = generate(decoder, prompts, options);
  std::map<int64_t, std::vector<int64_t>> told;
  int64_t n_between = 0, first_at = -1;
  const GenerationListener listener{.finished =
                                        [&](int64_t sequence, const GeneratedSequence& answer) {
                                          EXPECT_TRUE(told.emplace(sequence, answer.tokens).second)
                                              << "twice: " << sequence;
                                          if (first_at < 0) first_at = n_between;
                                        },
                                    .between_tokens = [&] { ++n_between; }};

  const GenerationResult result =
      Generator(decoder).generate(pack(prompts), keys_for(prompts.size()), options, listener);

  expect_same(result, expected);
  ASSERT_EQ(told.size(), expected.sequences.size());
  for (const auto& [sequence, tokens] : told) {
    EXPECT_EQ(tokens, expected.sequences[static_cast<size_t>(sequence)].tokens);
  }
  EXPECT_GE(n_between, result.decode_steps);
  EXPECT_LT(first_at, n_between / 2) << "while others were generated";
}

TEST(Generator, TellsOfEachTokenAsItIsDrawn) {
  Decoder decoder = small_decoder("llama", at::kFloat);
  const Sequences prompts = prompts_for(decoder);
  const GenerationOptions options{.max_new_tokens = 12, .group_size = 2, .max_batch = 3};
  std::map<int64_t, std::vector<int64_t>> told;
  int64_t n_between = 0, second_at = -1;
  const GenerationListener listener{.drawn =
                                        [&](int64_t sequence, int64_t token) {
                                          told[sequence].push_back(token);
                                          if (told.at(0).size() == 2 && second_at < 0)
                                            second_at = n_between;
                                        },
                                    .between_tokens = [&] { ++n_between; }};

  const GenerationResult result =
      Generator(decoder).generate(pack(prompts), keys_for(prompts.size()), options, listener);

  ASSERT_EQ(told.size(), result.sequences.size());
  for (const auto& [sequence, tokens] : told) {
    EXPECT_EQ(tokens, result.sequences[static_cast<size_t>(sequence)].tokens);
  }
  EXPECT_EQ(second_at, 1) << "one decoding step later, not at the end";
}

TEST(Generator, BarsStopIdsBelowTheMinimum) {
  Decoder decoder = small_decoder("llama", at::kFloat);
  GenerationOptions options{.max_new_tokens = 12, .min_new_tokens = 6, .group_size = 40};
  for (int64_t id = 0; id < 30; ++id) options.stop_ids.push_back(id);

  const GenerationResult result = generate(decoder, {{1, 2, 3}}, options);

  for (const GeneratedSequence& sequence : result.sequences) {
    EXPECT_GE(sequence.tokens.size(), 7u);
    for (size_t i = 0; i < 6; ++i) EXPECT_GE(sequence.tokens[i], 30);
  }
}

TEST(Generator, EndsAtTheLastPositionOfTheModel) {
  Architecture a = small_architecture("llama");
  a.max_positions = 20;
  Decoder decoder(a, at::kFloat);
  decoder.parameters().initialise(1);

  const GenerationResult result =
      generate(decoder, random_sequences({19, 4}, 37), {.max_new_tokens = 100});

  EXPECT_EQ(result.sequences[0].tokens.size(), 1u);
  EXPECT_EQ(result.sequences[1].tokens.size(), 16u);
  EXPECT_EQ(result.sequences[1].finish, Finish::kLength);
  EXPECT_THROW(generate(decoder, random_sequences({20}, 37), {}), ShapeError);
}

TEST(Generator, PrefillsAPromptOnceForAllItsMembers) {
  Decoder decoder = small_decoder("llama", at::kFloat);

  const GenerationResult result = generate(decoder, random_sequences({20, 30}, 37),
                                           {.max_new_tokens = 5, .group_size = 8, .max_batch = 3});

  EXPECT_EQ(result.prefilled_tokens, 50);
  EXPECT_EQ(result.decoded_tokens, 16 * 4) << "the first token comes from the prefill";
  // 16 sequences of 4 steps in 3 places: 5 rounds of 3 and one of 1.
  EXPECT_EQ(result.decode_steps, 24);
}

TEST(Generator, TreatsTemperatureZeroAsGreedy) {
  Decoder decoder = small_decoder("llama", at::kFloat);

  const auto zero = generate(decoder, {{1, 2}}, {.max_new_tokens = 9, .temperature = 0});
  const auto greedy = generate(decoder, {{1, 2}}, {.max_new_tokens = 9, .greedy = true});

  expect_same(zero, greedy);
}

TEST(Generator, ReadsTheParametersAsTheyAreNow) {
  Decoder decoder = small_decoder("llama", at::kFloat);
  Generator generator(decoder);
  const GenerationOptions options{.max_new_tokens = 9, .greedy = true};
  const auto before = generator.generate(pack({{1, 2}}), keys_for(1), options);

  decoder.parameters().initialise(77);
  const auto after = generator.generate(pack({{1, 2}}), keys_for(1), options);

  EXPECT_NE(before.sequences[0].tokens, after.sequences[0].tokens);
}

TEST(Generator, KeepsPackedWeightsUntilAParameterChanges) {
  Decoder decoder = small_decoder("llama", at::kFloat);
  const Sequences prompts = prompts_for(decoder);
  const auto keys = keys_for(prompts.size());
  const GenerationOptions options{.max_new_tokens = 8};
  Generator keeping(decoder, PackedWeights::kKeep);
  expect_same(keeping.generate(pack(prompts), keys, options), generate(decoder, prompts, options));
  expect_same(keeping.generate(pack(prompts), keys, options), generate(decoder, prompts, options));

  // One number, written past every counter of changes that a tensor has.
  const int64_t last = decoder.parameters().numel() - 1;
  for (int64_t i : {int64_t{0}, last / 2, last}) {
    decoder.parameters().values().data_ptr<float>()[i] += 0.5F;

    expect_same(keeping.generate(pack(prompts), keys, options),
                generate(decoder, prompts, options));
  }
}

TEST(Generator, AcceptsNoPromptAndNamesWrongOptions) {
  Decoder decoder = small_decoder("llama", at::kFloat);

  EXPECT_TRUE(Generator(decoder).generate(pack({}), {}, {}).sequences.empty());
  EXPECT_THROW(Generator(decoder).generate(pack({{1}}), {}, {}), ShapeError);
  EXPECT_THROW(generate(decoder, {{1}}, {.stop_ids = {37}}), ConfigError);
  EXPECT_THROW(generate(decoder, {{1}}, {.max_new_tokens = 0}), ConfigError);
  EXPECT_THROW(generate(decoder, {{99}}, {}), DataError);
  const GenerationOptions wrong{.max_new_tokens = 1,
                                .min_new_tokens = 2,
                                .temperature = -1,
                                .top_p = 0,
                                .top_k = 5,
                                .max_batch = 0};
  EXPECT_EQ(wrong.problems().size(), 4u);
}

/// Answers of 60 tokens to groups of 3, eight of them at a time.
GenerationOptions crowded() { return {.max_new_tokens = 60, .group_size = 3, .max_batch = 8}; }

/// Pages of all places at their longest, and of the prompts: what the cache holds without a limit.
int64_t worst_case_tokens(const Sequences& prompts, const GenerationOptions& options) {
  size_t longest = 0;
  for (const std::vector<int64_t>& prompt : prompts) longest = std::max(longest, prompt.size());
  return options.max_batch * (static_cast<int64_t>(longest) + options.max_new_tokens);
}

TEST_P(EveryKindGenerates, TheSameWithRoomForAThirdOfTheTokens) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const Decoder decoder = small_decoder(GetParam(), dtype);
    const Sequences prompts = prompts_for(decoder);
    at::NoGradGuard no_grad;
    GenerationOptions options = crowded();
    const GenerationResult expected = generate(decoder, prompts, options);
    EXPECT_EQ(expected.preemptions, 0);

    options.max_cache_tokens = worst_case_tokens(prompts, options) * 3 / 10;
    const GenerationResult result = generate(decoder, prompts, options);

    EXPECT_GE(result.preemptions, 1) << "the cache was never full";
    expect_same(result, expected);
  }
}

TEST(Generator, GoesOnWithRoomForOneSequenceAlone) {
  const Decoder decoder = small_decoder("llama", at::kDouble);
  const Sequences prompts = prompts_for(decoder);
  at::NoGradGuard no_grad;
  GenerationOptions options = crowded();
  const GenerationResult expected = generate(decoder, prompts, options);

  options.max_cache_tokens = 48 + 96;  // a prompt of 33 tokens, and its sequence of 93
  expect_same(generate(decoder, prompts, options), expected);
}

TEST(Generator, LeavesNoRoomToPromptsWhoseMembersWait) {
  // Several prompts that each kept their pages for members that wait once left none for the last
  // sequence that went on.
  const Decoder decoder = small_decoder("llama", at::kFloat);
  at::NoGradGuard no_grad;
  struct Load {
    std::vector<int64_t> prompts;
    int64_t group_size, max_batch, max_new_tokens;
  };
  for (const Load& load : {Load{{1, 1, 1}, 4, 5, 100}, Load{{10, 10, 10, 10}, 16, 17, 80}}) {
    const Sequences prompts = random_sequences(load.prompts, decoder.architecture().vocab_size);
    GenerationOptions options{.max_new_tokens = load.max_new_tokens,
                              .group_size = load.group_size,
                              .max_batch = load.max_batch};
    const GenerationResult expected = generate(decoder, prompts, options);
    options.max_cache_tokens =
        16 * (1 + (load.prompts[0] + load.max_new_tokens + 15) / 16);  // the least
    expect_same(generate(decoder, prompts, options), expected);
  }
}

TEST(Generator, RefusesACacheThatOneSequenceDoesNotFit) {
  const Decoder decoder = small_decoder("llama", at::kDouble);
  const Sequences prompts = prompts_for(decoder);
  GenerationOptions options = crowded();
  options.max_cache_tokens = 48 + 96 - 1;
  try {
    generate(decoder, prompts, options);
    FAIL() << "nothing was thrown";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("at least 144, for a prompt of 33 tokens"),
              std::string::npos)
        << error.what();
  }
}

TEST(Generator, ServesRandomLoadsWithRandomRoomAlike) {
  const Decoder decoder = small_decoder("llama", at::kFloat);
  at::NoGradGuard no_grad;
  uint64_t state = 1;
  const auto random = [&](int64_t below) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<int64_t>(state >> 33U) % below;
  };
  int64_t preemptions = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<int64_t> lengths;
    for (int64_t i = 0; i < 1 + random(6); ++i) {
      lengths.push_back(1 + random(round % 3 == 0 ? 4 : 40));
    }
    const Sequences prompts = random_sequences(lengths, decoder.architecture().vocab_size);
    GenerationOptions options{
        .max_new_tokens = 1 + random(80),
        .group_size = 1 + random(round % 4 == 0 ? 16 : 4),
        .stop_ids = round % 2 == 0 ? std::vector<int64_t>{5} : std::vector<int64_t>{},
        .max_batch = 1 + random(20)};
    const GenerationResult expected = generate(decoder, prompts, options);
    const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
    const auto pages = [](int64_t n) { return (n + 15) / 16; };
    const int64_t least = 16 * (pages(longest) + pages(longest + options.max_new_tokens));
    options.max_cache_tokens = least + random(round % 2 == 0 ? 32 : 2 * least);
    SCOPED_TRACE(testing::Message() << "round " << round << ", " << options.max_cache_tokens);

    const GenerationResult result = generate(decoder, prompts, options);

    expect_same(result, expected);
    preemptions += result.preemptions;
  }
  EXPECT_GT(preemptions, 20);
}

}  // namespace
}  // namespace orrery::model
