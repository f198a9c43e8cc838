// The packed decoder against the reference: values and all gradients in fp64, every architecture.
#include "orrery/model/decoder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "orrery/base/error.h"
#include "reference_decoder.h"

namespace orrery::model {
namespace {

// Both sides add a few hundred products in another order; values are near 1.
constexpr double kFp64 = 1e-10;

const std::vector<int64_t> kLengths = {5, 1, 12, 2, 33};

/// The same weights for each action on both sides.
at::Tensor action_weights(int64_t n, at::ScalarType dtype) {
  return at::arange(n, at::TensorOptions().dtype(dtype)).mul(0.7).cos();
}

void expect_equal_gradients(Decoder& decoder, const ReferenceDecoder& reference, double tolerance) {
  for (const ParameterSpec& spec : decoder.parameters().table().parameters) {
    const at::Tensor& expected = reference.weight(spec.name).grad();
    ASSERT_TRUE(expected.defined()) << spec.name;
    EXPECT_GT(expected.abs().max().item<double>(), 0) << spec.name << " has no gradient to compare";
    EXPECT_LT(max_difference(decoder.parameters().gradient(spec.name), expected), tolerance)
        << spec.name;
  }
}

class EveryKind : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Decoder, EveryKind, testing::ValuesIn(kKinds), test_name);

TEST_P(EveryKind, GivesTheLogProbsAndGradientsOfTheReference) {
  Decoder decoder = small_decoder(GetParam(), at::kDouble);
  const ReferenceDecoder reference(decoder);
  const Sequences sequences = random_sequences(kLengths, decoder.architecture().vocab_size);

  const at::Tensor got = decoder.log_probs(pack(sequences), 0.8);
  const at::Tensor expected = reference.log_probs(sequences, 0.8);
  const at::Tensor weights = action_weights(got.numel(), at::kDouble);
  (got * weights).sum().backward();
  (expected * weights).sum().backward();

  EXPECT_LT(max_difference(got, expected), kFp64);
  expect_equal_gradients(decoder, reference, kFp64);
}

TEST_P(EveryKind, GivesTheEntropyAndItsGradients) {
  Decoder decoder = small_decoder(GetParam(), at::kDouble);
  const ReferenceDecoder reference(decoder);
  const Sequences sequences = random_sequences(kLengths, decoder.architecture().vocab_size);

  const PackedTokens batch = pack(sequences);
  const LogProbs got =
      decoder.head_measured_log_probs(batch, decoder.hidden(batch), 1.3, EntropyGradient::kFlows);
  const at::Tensor log_probs = reference.log_probs(sequences, 1.3);
  const at::Tensor entropy = reference.entropy(sequences, 1.3);
  const at::Tensor weights = action_weights(entropy.numel(), at::kDouble);
  (got.log_probs * weights - got.entropy * weights.flip(0)).sum().backward();
  (log_probs * weights - entropy * weights.flip(0)).sum().backward();

  EXPECT_LT(max_difference(got.log_probs, log_probs), kFp64);
  EXPECT_LT(max_difference(got.entropy, entropy), kFp64);
  expect_equal_gradients(decoder, reference, kFp64);
}

TEST_P(EveryKind, GivesTheSameHoweverManyLayersAreRecomputed) {
  const Sequences sequences = random_sequences(kLengths, small_architecture(GetParam()).vocab_size);
  const PackedTokens first = pack({sequences[0], sequences[2]});
  const PackedTokens second = pack({sequences[1], sequences[3], sequences[4]});
  Decoder keeping = small_decoder(GetParam(), at::kDouble);
  const auto log_probs_of = [&](Decoder& decoder) {
    const at::Tensor a = decoder.log_probs(first), b = decoder.log_probs(second);
    b.sum().backward();  // both were alive, as micro-batches of a pipeline are
    a.sum().backward();
    return at::cat({a, b}).detach();
  };
  const at::Tensor expected = log_probs_of(keeping);

  for (int64_t n = 1; n <= keeping.n_layers(); ++n) {
    SCOPED_TRACE(n);
    Decoder recomputing = small_decoder(GetParam(), at::kDouble);
    recomputing.set_recomputed_layers(n);
    EXPECT_TRUE(at::equal(log_probs_of(recomputing), expected));
    EXPECT_TRUE(at::equal(recomputing.parameters().gradients(), keeping.parameters().gradients()));
  }
}

/// Bytes of activations that a training pass of one batch leaves.
int64_t bytes_of_a_pass(int64_t n_recomputed) {
  Architecture a = small_architecture("llama");
  a.n_layers = 8;
  Decoder decoder(a, at::kFloat);
  decoder.parameters().initialise(1);
  decoder.set_recomputed_layers(n_recomputed);
  decoder.log_probs(pack(random_sequences({200, 56}, a.vocab_size))).sum().backward();
  return decoder.activation_bytes();
}

TEST(Decoder, HoldsLessTheMoreLayersAreRecomputed) {
  const Architecture a = small_architecture("llama");
  // Of one layer and token: fused q, k and v, what attention gave, logarithms of its sums, the
  // middle of the residual stream, gate and up, two deviations. An eighth is added to each slab.
  const int64_t numbers =
      a.qkv_size() + a.query_size() + a.n_heads + a.hidden_size + a.up_size() + 2;
  const int64_t layer = 256 * numbers * 4 * 9 / 8;

  const int64_t all_kept = bytes_of_a_pass(0);
  for (int64_t n = 1; n < 8; ++n) {
    EXPECT_NEAR(static_cast<double>(all_kept - bytes_of_a_pass(n)), static_cast<double>(n * layer),
                64.0 * static_cast<double>(n))
        << n;
  }
  EXPECT_NEAR(static_cast<double>(bytes_of_a_pass(8)), static_cast<double>(bytes_of_a_pass(7)), 64)
      << "one layer has to be there while it goes backwards";
}

/// Bytes of activations that passes leave of which all were alive at a time.
int64_t bytes_of_passes(int64_t n_recomputed, int64_t n_passes) {
  Decoder decoder = small_decoder("llama", at::kFloat);
  decoder.set_recomputed_layers(n_recomputed);
  const PackedTokens batch = pack(random_sequences({200, 56}, 37));
  std::vector<at::Tensor> sums;
  for (int64_t i = 0; i < n_passes; ++i) sums.push_back(decoder.log_probs(batch).sum());
  for (const at::Tensor& sum : sums) sum.backward();
  return decoder.activation_bytes();
}

TEST(Decoder, HoldsOneLayerForAllPassesOfWhichAllLayersAreRecomputed) {
  const int64_t n_layers = small_architecture("llama").n_layers;

  const int64_t more_with_one_kept =
      bytes_of_passes(n_layers - 1, 4) - bytes_of_passes(n_layers - 1, 1);
  const int64_t more_with_none = bytes_of_passes(n_layers, 4) - bytes_of_passes(n_layers, 1);

  EXPECT_GT(more_with_none, 0) << "inputs";
  EXPECT_LT(more_with_none, more_with_one_kept / 2);
}

TEST_P(EveryKind, PacksSequencesWithoutMixingThem) {
  Decoder decoder = small_decoder(GetParam(), at::kDouble);
  const Sequences sequences = random_sequences(kLengths, decoder.architecture().vocab_size);
  at::NoGradGuard no_grad;

  const at::Tensor together = decoder.logits(pack(sequences));

  int64_t row = 0;
  for (const auto& ids : sequences) {
    const at::Tensor alone = decoder.logits(pack({ids}));
    EXPECT_LT(max_difference(together.narrow(0, row, alone.size(0)), alone), 1e-12);
    row += alone.size(0);
  }
}

TEST_P(EveryKind, IsCloseToFp64InFp32) {
  Decoder single = small_decoder(GetParam(), at::kFloat);
  Decoder exact = small_decoder(GetParam(), at::kDouble);
  exact.parameters().values().copy_(single.parameters().values());
  const PackedTokens batch = pack(random_sequences(kLengths, single.architecture().vocab_size));

  const at::Tensor a = single.log_probs(batch), b = exact.log_probs(batch);
  a.sum().backward();
  b.sum().backward();

  // As the fixtures' README allows transformers: 3e-5 on log-probabilities, 2e-5 on gradients.
  EXPECT_LT(max_difference(a, b), 3e-5);
  const at::Tensor& expected = exact.parameters().gradients();
  const double error =
      (single.parameters().gradients().to(at::kDouble) - expected).norm().item<double>();
  EXPECT_LT(error / expected.norm().item<double>(), 2e-5);
}

TEST(Decoder, DifferentiatesLogitsAndHiddenStates) {
  Decoder decoder = small_decoder("llama", at::kDouble);
  const ReferenceDecoder reference(decoder);
  const Sequences sequences = random_sequences({6}, 37);

  const at::Tensor weights = action_weights(6 * 37, at::kDouble).view({6, 37});
  (decoder.logits(pack(sequences)) * weights).sum().backward();
  decoder.hidden(pack(sequences)).pow(2).sum().backward();
  (reference.logits(sequences[0]) * weights).sum().backward();
  reference.hidden(sequences[0]).pow(2).sum().backward();

  expect_equal_gradients(decoder, reference, kFp64);
}

TEST(Decoder, HasGradientsThatAFiniteDifferenceConfirms) {
  Decoder decoder = small_decoder("qwen3", at::kDouble);
  const PackedTokens batch = pack(random_sequences({7, 4}, 37));
  decoder.log_probs(batch).sum().backward();
  const at::Tensor gradient = decoder.parameters().gradients().clone();
  at::NoGradGuard no_grad;
  at::Tensor values = decoder.parameters().values();
  const double step = 1e-5;

  for (int64_t i = 0; i < values.numel(); i += 211) {
    const double original = values[i].item<double>();
    values[i] = original + step;
    const double above = decoder.log_probs(batch).sum().item<double>();
    values[i] = original - step;
    const double below = decoder.log_probs(batch).sum().item<double>();
    values[i] = original;
    // Truncation of order step^2, rounding of order 1e-14 / step.
    EXPECT_NEAR((above - below) / (2 * step), gradient[i].item<double>(), 2e-7) << "element " << i;
  }
}

TEST(Decoder, AddsGradientsOverMicroBatches) {
  Decoder whole = small_decoder("llama-tied", at::kDouble);
  Decoder parts = small_decoder("llama-tied", at::kDouble);
  const Sequences sequences = random_sequences({5, 9, 3}, 37);

  whole.log_probs(pack(sequences)).sum().backward();
  // Two graphs alive at once, used in the other order.
  const at::Tensor first = parts.log_probs(pack({sequences[0]})).sum();
  const at::Tensor second = parts.log_probs(pack({sequences[1], sequences[2]})).sum();
  second.backward();
  first.backward();

  EXPECT_LT(max_difference(parts.parameters().gradients(), whole.parameters().gradients()), kFp64);
}

TEST(Decoder, MakesTheVocabularyInChunksWithoutChangingTheResult) {
  Architecture a = small_architecture("llama");
  a.vocab_size = 20011;  // 8 bytes * 20,011 * 32 rows passes the size of a chunk
  a.n_layers = 1;
  Decoder decoder(a, at::kDouble);
  decoder.parameters().initialise(1);
  const ReferenceDecoder reference(decoder);
  const Sequences sequences = random_sequences({50, 47}, a.vocab_size);

  const at::Tensor got = decoder.log_probs(pack(sequences));
  const at::Tensor expected = reference.log_probs(sequences, 1.0);
  got.sum().backward();
  expected.sum().backward();

  EXPECT_LT(max_difference(got, expected), kFp64);
  EXPECT_LT(max_difference(decoder.parameters().gradient("lm_head.weight"),
                           reference.weight("lm_head.weight").grad()),
            kFp64);
}

TEST(Decoder, KeepsNothingWithoutGradients) {
  Decoder decoder = small_decoder("llama", at::kDouble);
  const PackedTokens batch = pack(random_sequences({5, 9}, 37));
  const at::Tensor with_gradients = decoder.log_probs(batch);
  at::NoGradGuard no_grad;

  const at::Tensor without = decoder.log_probs(batch);

  EXPECT_FALSE(without.requires_grad());
  EXPECT_FALSE(decoder.parameters().has_gradients());
  EXPECT_TRUE(at::equal(with_gradients, without));
}

TEST(Decoder, ReturnsNoActionForSequencesOfOneToken) {
  Decoder decoder = small_decoder("llama", at::kFloat);

  const at::Tensor log_probs = decoder.log_probs(pack({{3}, {4}}));
  log_probs.sum().backward();

  EXPECT_EQ(log_probs.numel(), 0);
  EXPECT_EQ(decoder.parameters().gradients().abs().max().item<double>(), 0);
}

TEST(Decoder, CanBeUsedAgainAfterALongerBatch) {
  Decoder decoder = small_decoder("llama", at::kDouble);
  const PackedTokens small = pack(random_sequences({5, 9}, 37));
  const at::Tensor before = decoder.log_probs(small).detach();

  decoder.log_probs(pack(random_sequences({200, 150}, 37))).sum().backward();

  EXPECT_TRUE(at::equal(decoder.log_probs(small).detach(), before));
}

TEST(Decoder, NamesWhatIsWrongWithABatch) {
  Decoder decoder = small_decoder("llama", at::kFloat);
  const auto message = [&](const PackedTokens& batch) {
    try {
      decoder.log_probs(batch);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };

  EXPECT_NE(message(pack({{1, 37}})).find("token id at place 1"), std::string::npos);
  EXPECT_NE(message(pack({{1, -1}})).find("token id at place 1"), std::string::npos);
  EXPECT_NE(message(pack(random_sequences({257}, 37))).find("has 257 tokens"), std::string::npos);
  PackedTokens uneven = pack({{1, 2, 3}});
  uneven.cu_seqlens.back() = 2;
  EXPECT_NE(message(uneven).find("offsets disagree"), std::string::npos);
  EXPECT_THROW(pack_tokens(at::tensor(std::vector<int64_t>{1}), std::vector<int32_t>{1, 0}),
               ShapeError);
  EXPECT_THROW(pack_tokens(at::tensor(std::vector<double>{1}), std::vector<int32_t>{1}),
               ShapeError);
  EXPECT_THROW(decoder.log_probs(pack({{1, 2}}), 0), ConfigError);
}

TEST(Decoder, RefusesOtherTypesAndDevices) {
  EXPECT_THROW(Decoder(small_architecture("llama"), at::kHalf), ConfigError);
  EXPECT_THROW(Decoder(small_architecture("llama"), at::kFloat, c10::Device("cuda:0")),
               ConfigError);
  EXPECT_THROW(Decoder(Architecture{}, at::kFloat), ConfigError);
}

}  // namespace
}  // namespace orrery::model
