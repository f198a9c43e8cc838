// The decoder by its definition: one sequence at a time, separate q, k, v, gate and up, ATen
// operators and autograd throughout. The reference that everything in model/ is compared with.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>  // at::NoGradGuard, for the tests that include this
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "orrery/model/architecture.h"
#include "orrery/model/decoder.h"

namespace orrery::model {

using Sequences = std::vector<std::vector<int64_t>>;

class ReferenceDecoder {
 public:
  /// Copies the parameters; the copies are leaves of their own.
  explicit ReferenceDecoder(const Decoder& decoder);

  at::Tensor hidden(const std::vector<int64_t>& ids) const;  // [n, H]
  at::Tensor logits(const std::vector<int64_t>& ids) const;  // [n, V]

  /// Of all sequences, one behind another.
  at::Tensor log_probs(const Sequences& sequences, double temperature) const;  // [A]
  at::Tensor entropy(const Sequences& sequences, double temperature) const;    // [A]

  const at::Tensor& weight(const std::string& name) const { return weights_.at(name); }

 private:
  at::Tensor norm(const at::Tensor& x, const std::string& name) const;
  at::Tensor linear(const at::Tensor& x, const std::string& name) const;
  at::Tensor heads(const at::Tensor& x, const std::string& norm_name, int64_t n_heads,
                   int64_t layer) const;
  at::Tensor attention(const at::Tensor& x, const std::string& prefix, int64_t layer) const;
  at::Tensor mlp(const at::Tensor& x, const std::string& prefix) const;

  Architecture architecture_;
  std::map<std::string, at::Tensor> weights_;
};

/// Small, with every switch that `kind` names: llama, llama-tied, qwen2, qwen3, mistral-window,
/// odd (head sizes that fill no register), gemma3, olmo2, smollm3.
Architecture small_architecture(const std::string& kind);
inline const char* const kKinds[] = {"llama", "llama-tied", "qwen2", "qwen3",  "mistral-window",
                                     "odd",   "gemma3",     "olmo2", "smollm3"};

/// Initialised, then every norm and bias disturbed, so that a forgotten one shows.
Decoder small_decoder(const std::string& kind, at::ScalarType dtype);

/// Token ids in [0, vocab), fixed.
Sequences random_sequences(const std::vector<int64_t>& lengths, int64_t vocab_size);
PackedTokens pack(const Sequences& sequences);

/// A parameter as a test name: letters, digits and underscores only.
std::string test_name(const testing::TestParamInfo<const char*>& parameter);

/// Largest absolute difference; shapes must agree.
double max_difference(const at::Tensor& a, const at::Tensor& b);

}  // namespace orrery::model
