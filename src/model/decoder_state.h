// What a Decoder owns, and the two halves of its computation: the trunk (tokens -> hidden) and the
// head (hidden -> log-probabilities or logits). Private to src/model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "arena.h"
#include "layer.h"
#include "orrery/model/decoder.h"
#include "shard_weights.h"

namespace orrery::model {

struct Decoder::State {
  State(Architecture sound, at::ScalarType dtype, c10::Device device, Shard shard);

  Architecture architecture;  // of the model
  Shard shard;
  Architecture local;  // of the shard: its heads, its part of the MLP, its blocks, its vocabulary
  FlatParameters parameters;
  size_t n_recomputed = 0;  // layers of the stage, the first ones
  kernels::Amx amx = kernels::Amx::kAuto;
  ArenaPool pool;
  ArenaPool layer_pool;  // of the activations of one layer at a time, where none keeps its own
  at::Tensor
      anchor;  // [1], requires a gradient and never gets one: it makes results differentiable
  RopeTables rope;
  double balance = 0;  // weight of the balance loss, for each token

  ShardWeights weights;  // views of the parameters
  void set_amx(kernels::Amx wanted);
  /// The same views of the gradient buffer; made with it.
  std::optional<ShardWeights> gradient_views;
  ShardWeights& gradients();

  /// Of parameters, activations and matmuls.
  at::ScalarType dtype() const { return parameters.values().scalar_type(); }
  /// Options of results: log-probabilities, logits, values; and of statistics.
  at::TensorOptions sums() const { return sums_of(parameters.values()); }
  /// Rows of the head on this shard.
  IndexRange vocabulary() const { return vocabulary_of(architecture.vocab_size, shard.place); }
  /// `balance` as a layer takes it: the loss is a mean over the layers with experts.
  double balance_of_layer() const;
};

/// What the trunk's backward pass reads again. One backward pass consumes it.
struct TrunkRecord {
  std::vector<int64_t> tokens;
  std::vector<int32_t> cu_seqlens;
  std::vector<int32_t> positions;
  Arena slab;
  PassRows rows;
  std::vector<at::Tensor> inputs;  // [layers + 1] of [R, H]; the last is the final norm's
  std::vector<LayerActivations> activations;  // of each layer behind the first n_recomputed
  size_t n_recomputed = 0;
  at::Tensor final_rstd;  // [R, 1]
};

/// tokens, or the output [R, H] of the stage before -> output [R, H] of this stage, after the last
/// norm on the last one. `record` null: nothing is kept.
at::Tensor forward_trunk(Decoder::State& state, const PackedTokens& batch, const at::Tensor& input,
                         TrunkRecord* record);

/// Adds the gradients of all trunk parameters. gradient [R, H]: by the output. Returns [R, H] by
/// the input; undefined on the first stage.
at::Tensor backward_trunk(Decoder::State& state, TrunkRecord& record, const at::Tensor& gradient);

/// hidden [R, H] -> log-probabilities and, when asked for, entropies, differentiable through
/// `hidden` and into the head's gradient.
/// kMeasure: entropies without a gradient.
enum class Entropy { kSkip, kMeasure, kCompute };
LogProbs head_log_probs(const std::shared_ptr<Decoder::State>& state, const at::Tensor& hidden,
                        const PackedTokens& batch, double temperature, Entropy entropy);

/// hidden [R, H] -> values of own rows [R, 1], likewise differentiable.
at::Tensor head_values(const std::shared_ptr<Decoder::State>& state, const at::Tensor& hidden);

/// hidden [R, H] -> [T, V], likewise differentiable.
at::Tensor head_logits(const std::shared_ptr<Decoder::State>& state, const at::Tensor& hidden,
                       const PackedTokens& batch);

/// hidden [R, H] and the teacher's [T, H of the teacher] -> divergence of each action [A], likewise
/// differentiable; 0 where `mask` is false.
at::Tensor head_divergence(const std::shared_ptr<Decoder::State>& state, const at::Tensor& hidden,
                           const PackedTokens& batch, const Decoder::State& teacher,
                           const TeacherRows& teacher_rows, const at::Tensor& mask,
                           const DivergenceOptions& options);

/// own rows [R, H] -> all rows [T, H], differentiable.
at::Tensor all_rows(const std::shared_ptr<Decoder::State>& state, const at::Tensor& own,
                    int64_t n_tokens);

}  // namespace orrery::model
