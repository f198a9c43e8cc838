// The decoder: packed sequences in, hidden states or next-token log-probabilities out.
//
// With gradients enabled a result is differentiable, and backward() ADDS the gradients of all
// parameters to parameters().gradients() (leaves have views of it as .grad). It goes there
// directly: torch::autograd::grad() with respect to leaves does not see it. Each result can be
// backpropagated once. Under at::NoGradGuard nothing is kept.
//
// One thread at a time; local: no communication.
// Shape letters: T packed tokens, N sequences, A = T - N actions, H hidden, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "orrery/model/architecture.h"
#include "orrery/model/packed_tokens.h"
#include "orrery/model/parameter_table.h"

namespace orrery::model {

struct LogProbs {
  at::Tensor log_probs;  // [A]
  at::Tensor entropy;    // [A], of the distribution that each action was drawn from
};

/// What backward reads again: everything that forward wrote, or the input of each layer only, from
/// which the layer is run again (a third more products, about a tenth of the memory).
enum class Activations { kKeep, kRecompute };

class Decoder {
 public:
  /// Parameters are zero until initialise() or a load.
  ///   dtype   kFloat or kDouble: parameters, products and results
  ///   device  the CPU
  /// Throws ConfigError for an unsound architecture or another dtype or device.
  Decoder(Architecture architecture, at::ScalarType dtype, c10::Device device = c10::kCPU);
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  const Architecture& architecture() const;
  at::ScalarType dtype() const;
  FlatParameters& parameters();
  const FlatParameters& parameters() const;
  void set_activations(Activations activations);

  /// Log-probability of each next token, at logits / temperature: entry t of a sequence belongs to
  /// predicting token t + 1 from token t, so a sequence of n tokens has n - 1.
  ///   returns [A] in dtype(), nats, differentiable
  /// The logits of the whole batch never exist: they are made in chunks, again in backward.
  /// Throws as check_tokens, and ConfigError unless temperature > 0.
  at::Tensor log_probs(const PackedTokens& batch, double temperature = 1.0);

  /// The same with the entropy of each of these distributions, differentiable too.
  LogProbs log_probs_and_entropy(const PackedTokens& batch, double temperature = 1.0);

  /// [T, V] in dtype(), differentiable. T * V numbers: for tests and scoring of few sequences.
  at::Tensor logits(const PackedTokens& batch);

  /// [T, H] in dtype(): the output of the last norm, differentiable.
  at::Tensor hidden(const PackedTokens& batch);

  struct State;  // src/model/decoder_state.h

 private:
  std::shared_ptr<State> state_;  // shared with the graphs of results that are still alive
};

}  // namespace orrery::model
