// tokens -> hidden states and back.
#include <ATen/ops/empty.h>

#include <algorithm>

#include "decoder_state.h"
#include "gradient_room.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/metrics/layer_ranges.h"

namespace orrery::model {
namespace {

std::vector<int32_t> positions_of(const std::vector<int32_t>& cu_seqlens) {
  std::vector<int32_t> positions(static_cast<size_t>(cu_seqlens.back()));
  for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    for (int32_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; ++t) {
      positions[base::index(t)] = t - cu_seqlens[s];
    }
  }
  return positions;
}

/// Carves the matrices of one pass out of one slab. For backward the inputs of all layers and the
/// activations of those that are not recomputed; else two inputs by turns and activations of one.
void lay_out(Decoder::State& state, TrunkRecord& record, bool is_for_backward) {
  const Architecture& a = state.local;
  const size_t n_layers = state.weights.layers.size();
  record.n_recomputed = is_for_backward ? state.n_recomputed : n_layers;
  const size_t n_inputs = is_for_backward ? n_layers + 1 : 2;
  const size_t n_activations = is_for_backward ? n_layers - record.n_recomputed : 1;
  const int64_t input_size = Arena::size_of(record.rows.n_own, a.hidden_size);
  record.slab = state.pool.take(static_cast<int64_t>(n_inputs) * input_size +
                                static_cast<int64_t>(n_activations) *
                                    LayerActivations::size_of(a, record.rows, state.dtype()) +
                                Arena::size_of_sums(record.rows.n_own, 1, state.dtype()));
  for (size_t i = 0; i < n_inputs; ++i) {
    record.inputs.push_back(record.slab.matrix(record.rows.n_own, a.hidden_size));
  }
  for (size_t i = 0; i < n_activations; ++i) {
    record.activations.push_back(is_for_backward
                                     ? LayerActivations::from(record.slab, a, record.rows)
                                     : LayerActivations::unkept(record.slab, a, record.rows));
  }
  record.final_rstd = record.slab.sums(record.rows.n_own, 1);
}

/// Where a pass that keeps no layer's activations has those of the layer at work; undefined of
/// others.
LayerActivations passing_activations(Decoder::State& state, const TrunkRecord& record) {
  if (!record.activations.empty()) return {};
  Arena slab =
      state.layer_pool.take(LayerActivations::size_of(state.local, record.rows, state.dtype()));
  return LayerActivations::from(slab, state.local, record.rows);
}

/// Where the activations of a layer are. One that is run again has those of the first layer that
/// keeps its own: nobody needs these before that layer's forward and after its backward pass.
LayerActivations& activations_of(TrunkRecord& record, size_t layer, LayerActivations& passing) {
  if (record.activations.empty()) return passing;
  return record.activations[layer - std::min(layer, record.n_recomputed)];
}

/// As the model counts them.
int64_t first_layer(const Decoder::State& state) {
  return blocks_of(state.architecture.n_layers, state.shard.place).first;
}

PassInput pass_input(const Decoder::State& state, const TrunkRecord& record) {
  return {state.local,
          operators::packed_rows(record.cu_seqlens, record.positions, state.parameters.values()),
          state.rope, record.rows, state.balance_of_layer()};
}

}  // namespace

at::Tensor forward_trunk(Decoder::State& state, const PackedTokens& batch, const at::Tensor& input,
                         TrunkRecord* record) {
  const Architecture& a = state.local;
  const int64_t n_tokens = batch.size();
  const int64_t* ids = batch.tokens.const_data_ptr<int64_t>();
  TrunkRecord unkept;
  TrunkRecord& r = record != nullptr ? *record : unkept;
  r.tokens.assign(ids, ids + n_tokens);
  r.cu_seqlens = batch.cu_seqlens;
  r.positions = positions_of(batch.cu_seqlens);
  r.rows = PassRows::cut(n_tokens, state.shard.tensor);
  state.rope.extend(a, batch.longest(), state.sums());

  const std::vector<LayerWeights>& layers = state.weights.layers;
  const size_t n_layers = layers.size();
  lay_out(state, r, record != nullptr);
  LayerActivations passing = passing_activations(state, r);
  Arena scratch_slab = state.pool.take(LayerScratch::size_of(a, r.rows));
  LayerScratch scratch = LayerScratch::from(scratch_slab, a, r.rows);
  const PassInput pass = pass_input(state, r);

  if (state.shard.place.is_first_stage()) {
    embed(state.weights.embedding, r.rows, r.tokens, r.positions, scratch.full, r.inputs[0]);
  } else {
    r.inputs[0].copy_(input);
  }
  metrics::LayerRanges ranges("forward", first_layer(state), static_cast<int64_t>(n_layers));
  for (size_t layer = 0; layer < n_layers; ++layer) {
    ranges.enter(static_cast<int64_t>(layer));
    forward_layer(pass, layers[layer], r.inputs[layer % r.inputs.size()],
                  activations_of(r, layer, passing), scratch,
                  r.inputs[(layer + 1) % r.inputs.size()]);
  }
  const at::Tensor& last = r.inputs[n_layers % r.inputs.size()];
  at::Tensor output = at::empty({r.rows.n_own, a.hidden_size}, state.parameters.values().options());
  if (!state.shard.place.is_last_stage()) return output.copy_(last);
  operators::norm(state.weights.final_norm, last, output, r.final_rstd);
  return output;
}

at::Tensor backward_trunk(Decoder::State& state, TrunkRecord& record, const at::Tensor& gradient) {
  ORRERY_ASSERT(!record.inputs.empty(), "a result of the decoder was backpropagated twice");
  const Architecture& a = state.local;
  const ShardWeights& weights = state.weights;
  const ShardWeights& gradients = state.gradients();
  GradientRoom room;
  const size_t n_layers = weights.layers.size();
  LayerActivations passing = passing_activations(state, record);
  Arena slab = state.pool.take(BackwardScratch::size_of(a, record.rows) +
                               Arena::size_of(record.rows.n_own, a.hidden_size));
  BackwardScratch scratch = BackwardScratch::from(slab, a, record.rows);
  at::Tensor dx = slab.matrix(record.rows.n_own, a.hidden_size);
  const at::Tensor doutput = gradient.contiguous();
  const PassInput pass = pass_input(state, record);

  if (state.shard.place.is_last_stage()) {
    Norm dnorm = room.of(gradients.final_norm);
    operators::norm_backward(weights.final_norm, record.inputs[n_layers], record.final_rstd,
                             doutput, dx, kernels::Output::kOverwrite, dnorm);
    room.add_to_buffer();
  } else {
    dx.copy_(doutput);
  }
  metrics::LayerRanges ranges("backward", first_layer(state), static_cast<int64_t>(n_layers));
  for (size_t layer = n_layers; layer-- > 0;) {
    ranges.enter(static_cast<int64_t>(layer));
    LayerActivations& activations = activations_of(record, layer, passing);
    if (layer < record.n_recomputed) {
      forward_layer(pass, weights.layers[layer], record.inputs[layer], activations, scratch.forward,
                    {});
    }
    LayerWeights dweights = room.of(gradients.layers[layer]);
    backward_layer(pass, weights.layers[layer], dweights, record.inputs[layer], activations,
                   scratch, dx);
    room.add_to_buffer();
  }
  at::Tensor dinput;
  if (state.shard.place.is_first_stage()) {
    EmbeddingWeights dembedding = room.of(gradients.embedding);
    embed_backward(weights.embedding, record.rows, record.tokens, record.positions,
                   scratch.forward.full, dx, dembedding);
    room.add_to_buffer();
  } else {
    dinput = dx.clone();
  }
  record = TrunkRecord{};
  return dinput;
}

}  // namespace orrery::model
