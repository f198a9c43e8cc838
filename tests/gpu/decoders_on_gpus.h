// What the tests of decoders on simulated GPUs share: models of every kind, a batch, what is
// compared, answers.
#pragma once

#include <ATen/ATen.h>

#include <cstdlib>  // getenv
#include <filesystem>
#include <string>
#include <vector>

#include "orrery/model/decoder.h"
#include "orrery/model/generator.h"
#include "shards_for_test.h"

namespace orrery::model {

inline const char* const kKinds[] = {"plain", "bias",   "qk_norm", "tied",    "gemma",
                                     "gpt2",  "gemma3", "olmo2",   "smollm3", "experts"};

inline constexpr const char* kOneGpu = "NOT RUN ON A GPU: two tensor ranks need two";

/// Of Hugging Face; elsewhere in the packed form.
inline std::filesystem::path fixtures() {
  const char* const chosen = std::getenv("ORRERY_HF_DIR");
  if (chosen != nullptr) return chosen;
  return std::filesystem::path(ORRERY_SOURCE_DIR) / "tests/fixtures/hf";
}

/// Contexts of which some are of several parts of attention (kernels/decode_attention.h), and some
/// become so while they are generated.
inline constexpr int64_t kManyPositions = 400;
inline PackedTokens long_prompts(int64_t vocab_size) {
  const std::vector<int32_t> lengths{250, 3, 300, 255, 40};
  return pack_tokens((at::arange(848) * 7 + 3) % vocab_size, lengths);
}

inline PackedTokens some_tokens(int64_t vocab_size) {
  const std::vector<int32_t> lengths{5, 1, 12, 2, 21};
  return pack_tokens((at::arange(41) * 7 + 3) % vocab_size, lengths);
}

/// What a decoder says of a batch, and the gradients of a loss of it.
struct Results {
  at::Tensor log_probs, entropy, gradients;
};

inline Results results_of(Decoder& decoder, const PackedTokens& batch) {
  const LogProbs got = decoder.head_measured_log_probs(batch, decoder.run_stage(batch, {}), 0.8,
                                                       EntropyGradient::kFlows);
  const at::Tensor weights = at::arange(got.log_probs.numel(), at::kDouble)
                                 .mul(0.7)
                                 .cos()
                                 .to(got.log_probs.scalar_type())
                                 .to(got.log_probs.device());
  (got.log_probs * weights - got.entropy * weights).sum().backward();
  return {got.log_probs.detach().cpu(), got.entropy.detach().cpu(),
          decoder.parameters().gradients().cpu()};
}

/// Largest distance, as a part of the largest value.
inline double distance(const at::Tensor& got, const at::Tensor& expected) {
  const at::Tensor exact = expected.to(at::kDouble);
  return ((got.to(at::kDouble) - exact).abs().max() / exact.abs().max()).item<double>();
}

/// On a GPU, with the parameters of `cpu`.
inline Decoder on_gpu(const Decoder& cpu, int gpu, Shard shard = {}) {
  Decoder decoder(cpu.architecture(), cpu.parameters().dtype(),
                  at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu)), shard);
  decoder.parameters().values().copy_(cpu.parameters().values());
  return decoder;
}

inline Decoder on_cpu(const std::string& kind, at::ScalarType dtype, Shard shard = {}) {
  Decoder decoder(parallel::four_layers(kind), dtype, at::kCPU, shard);
  parallel::disturb(decoder.parameters());
  return decoder;
}

/// Answers of a few tokens to prompts of different lengths, more than there are places.
inline GenerationResult answers_of(const Decoder& decoder, int64_t max_cache_tokens) {
  const PackedTokens prompts = some_tokens(decoder.architecture().vocab_size);
  std::vector<SamplingKey> keys(static_cast<size_t>(prompts.n_sequences()));
  for (size_t i = 0; i < keys.size(); ++i) keys[i] = {.seed = 5, .step = 1, .sample = i};
  GenerationOptions options;
  options.max_new_tokens = 40;
  options.group_size = 2;
  options.max_batch = 4;
  options.temperature = 0.9;
  options.measure_entropy = true;
  options.max_cache_tokens = max_cache_tokens;
  return Generator(decoder).generate(prompts, keys, options);
}

}  // namespace orrery::model
