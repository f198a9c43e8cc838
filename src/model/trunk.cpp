// tokens -> hidden states and back.
#include <ATen/ops/empty.h>

#include <algorithm>  // max
#include <cstring>    // memcpy

#include "decoder_state.h"
#include "dispatch.h"
#include "orrery/base/error.h"
#include "row_norm.h"

namespace orrery::model {
namespace {

std::vector<int32_t> positions_of(const std::vector<int32_t>& cu_seqlens) {
  std::vector<int32_t> positions(static_cast<size_t>(cu_seqlens.back()));
  for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    for (int32_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; ++t) {
      positions[static_cast<size_t>(t)] = t - cu_seqlens[s];
    }
  }
  return positions;
}

int64_t longest(const std::vector<int32_t>& cu_seqlens) {
  int32_t length = 0;
  for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    length = std::max(length, cu_seqlens[s + 1] - cu_seqlens[s]);
  }
  return length;
}

/// out [T, H]: rows of the own part of the table; zeros for tokens of other ranks' parts.
template <class T>
void look_up(const at::Tensor& table, const IndexRange& vocabulary,
             const std::vector<int64_t>& tokens, at::Tensor& out) {
  const size_t width = static_cast<size_t>(table.size(1));
  const T* rows = table.const_data_ptr<T>();
  T* to = out.data_ptr<T>();
  for (const int64_t token : tokens) {
    const int64_t row = token - vocabulary.first;
    if (row >= 0 && row < vocabulary.count) {
      std::memcpy(to, rows + static_cast<size_t>(row) * width, width * sizeof(T));
    } else {
      std::fill_n(to, width, T(0));
    }
    to += width;
  }
}

/// Calls work(number of an own row, number of its position's row) for all of them.
template <class T, class Work>
void for_each_own_row(const Decoder::State& state, const TrunkRecord& record, at::Tensor& own,
                      const at::Tensor& positions, Work&& work) {
  const int64_t width = own.size(1);
  const int64_t first =
      record.rows.tensor == nullptr ? 0 : state.shard.place.tensor * record.rows.n_own;
  T* row = own.data_ptr<T>();
  T* table = positions.data_ptr<T>();
  for (int64_t i = 0; i < own.size(0) && first + i < record.rows.n_tokens; ++i, row += width) {
    T* position = table + record.positions[static_cast<size_t>(first + i)] * width;
    for (int64_t j = 0; j < width; ++j) work(row[j], position[j]);
  }
}

/// Own rows [R, H] of the embedded tokens.
template <class T>
void embed(Decoder::State& state, const TrunkRecord& record, LayerScratch& scratch,
           at::Tensor& out) {
  const bool is_cut = record.rows.tensor != nullptr;
  at::Tensor all = is_cut ? scratch.full : out;
  look_up<T>(state.embedding, state.vocabulary, record.tokens, all);
  if (is_cut) reduce_rows(record.rows, scratch.full, out);
  if (state.architecture.embedding_scale != 1) out.mul_(state.architecture.embedding_scale);
  if (!state.position_embedding.defined()) return;
  for_each_own_row<T>(state, record, out, state.position_embedding,
                      [](T& row, const T& position) { row += position; });
}

/// gradient [R, H] by own rows -> added to that of the table of positions; scaled for the table of
/// tokens.
template <class T>
void embed_backward_own(Decoder::State& state, const TrunkRecord& record, at::Tensor& gradient) {
  if (state.position_embedding.defined()) {
    at::Tensor dpositions = state.gradients().position_embedding;
    for_each_own_row<T>(state, record, gradient, dpositions,
                        [](T& row, T& position) { position += row; });
  }
  if (state.architecture.embedding_scale != 1) gradient.mul_(state.architecture.embedding_scale);
}

/// gradient [T, H] by the embedded tokens -> added to the own part of the table's.
template <class T>
void embed_backward(const at::Tensor& gradient, const IndexRange& vocabulary,
                    const std::vector<int64_t>& tokens, at::Tensor& dtable) {
  const int64_t width = dtable.size(1);
  const T* from = gradient.const_data_ptr<T>();
  T* rows = dtable.data_ptr<T>();
  for (const int64_t token : tokens) {
    const int64_t own = token - vocabulary.first;
    if (own >= 0 && own < vocabulary.count) {
      T* row = rows + own * width;
      for (int64_t i = 0; i < width; ++i) row[i] += from[i];
    }
    from += width;
  }
}

template <class T>
void final_norm(const Decoder::State& state, const at::Tensor& x, at::Tensor& y, at::Tensor& rstd) {
  norm_rows<T>({.kind = state.architecture.norm,
                .x = x.const_data_ptr<T>(),
                .weight = state.final_norm.const_data_ptr<T>(),
                .bias = state.final_norm_bias.defined() ? state.final_norm_bias.const_data_ptr<T>()
                                                        : nullptr,
                .y = y.data_ptr<T>(),
                .rstd = rstd.data_ptr<T>(),
                .n_rows = x.size(0),
                .width = state.architecture.hidden_size,
                .eps = state.architecture.norm_eps});
}

template <class T>
void final_norm_backward(Decoder::State& state, const at::Tensor& x, const at::Tensor& rstd,
                         const at::Tensor& dy, at::Tensor& dx) {
  Decoder::State::Gradients& gradients = state.gradients();
  norm_rows_backward<T>({.kind = state.architecture.norm,
                         .x = x.const_data_ptr<T>(),
                         .weight = state.final_norm.const_data_ptr<T>(),
                         .rstd = rstd.const_data_ptr<T>(),
                         .dy = dy.const_data_ptr<T>(),
                         .dx = dx.data_ptr<T>(),
                         .dweight = gradients.final_norm.data_ptr<T>(),
                         .dbias = gradients.final_norm_bias.defined()
                                      ? gradients.final_norm_bias.data_ptr<T>()
                                      : nullptr,
                         .n_rows = x.size(0),
                         .width = state.architecture.hidden_size});
}

/// Carves the matrices of one pass out of one slab.
void lay_out(Decoder::State& state, TrunkRecord& record, size_t n_inputs, size_t n_activations) {
  const Architecture& a = state.local;
  const int64_t input_size = Arena::size_of(record.rows.n_own, a.hidden_size);
  record.slab = state.pool.take(static_cast<int64_t>(n_inputs) * input_size +
                                static_cast<int64_t>(n_activations) *
                                    LayerActivations::size_of(a, record.rows) +
                                Arena::size_of(record.rows.n_own, 1));
  for (size_t i = 0; i < n_inputs; ++i) {
    record.inputs.push_back(record.slab.matrix(record.rows.n_own, a.hidden_size));
  }
  for (size_t i = 0; i < n_activations; ++i) {
    record.activations.push_back(LayerActivations::from(record.slab, a, record.rows));
  }
  record.final_rstd = record.slab.matrix(record.rows.n_own, 1);
}

}  // namespace

at::Tensor forward_trunk(Decoder::State& state, const PackedTokens& batch, const at::Tensor& input,
                         TrunkRecord* record) {
  const Architecture& a = state.local;
  const bool keep_all = record != nullptr && state.activations == Activations::kKeep;
  const int64_t n_tokens = batch.size();
  const int64_t* ids = batch.tokens.const_data_ptr<int64_t>();
  TrunkRecord unkept;
  TrunkRecord& r = record != nullptr ? *record : unkept;
  r.tokens.assign(ids, ids + n_tokens);
  r.cu_seqlens = batch.cu_seqlens;
  r.positions = positions_of(batch.cu_seqlens);
  r.rows = PassRows::of(n_tokens, state.shard.tensor);
  state.extend_rope_table(longest(batch.cu_seqlens));

  const size_t n_layers = state.layers.size();
  lay_out(state, r, record != nullptr ? n_layers + 1 : 2, keep_all ? n_layers : 1);
  Arena scratch_slab = state.pool.take(LayerScratch::size_of(a, r.rows));
  LayerScratch scratch = LayerScratch::from(scratch_slab, a, r.rows);
  const PassInput pass{a, r.cu_seqlens, r.positions, state.cosines, state.sines, r.rows};

  if (state.shard.place.is_first_stage()) {
    with_type(state.parameters.values().scalar_type(),
              [&]<class T>() { embed<T>(state, r, scratch, r.inputs[0]); });
  } else {
    r.inputs[0].copy_(input);
  }
  for (size_t layer = 0; layer < n_layers; ++layer) {
    forward_layer(pass, state.layers[layer], r.inputs[layer % r.inputs.size()],
                  r.activations[keep_all ? layer : 0], scratch,
                  r.inputs[(layer + 1) % r.inputs.size()]);
  }
  const at::Tensor& last = r.inputs[n_layers % r.inputs.size()];
  at::Tensor output = at::empty({r.rows.n_own, a.hidden_size}, state.parameters.values().options());
  if (!state.shard.place.is_last_stage()) return output.copy_(last);
  with_type(output.scalar_type(),
            [&]<class T>() { final_norm<T>(state, last, output, r.final_rstd); });
  return output;
}

at::Tensor backward_trunk(Decoder::State& state, TrunkRecord& record, const at::Tensor& gradient) {
  ORRERY_ASSERT(!record.inputs.empty(), "a result of the decoder was backpropagated twice");
  const Architecture& a = state.local;
  Decoder::State::Gradients& gradients = state.gradients();
  const size_t n_layers = state.layers.size();
  const bool kept = record.activations.size() == n_layers;
  Arena slab = state.pool.take(LayerScratch::size_of(a, record.rows) +
                               Arena::size_of(record.rows.n_own, a.hidden_size));
  LayerScratch scratch = LayerScratch::from(slab, a, record.rows);
  at::Tensor dx = slab.matrix(record.rows.n_own, a.hidden_size);
  const at::Tensor doutput = gradient.contiguous();
  const PassInput pass{a,           record.cu_seqlens, record.positions,        state.cosines,
                       state.sines, record.rows,       state.balance_of_layer()};

  if (state.shard.place.is_last_stage()) {
    with_type(dx.scalar_type(), [&]<class T>() {
      final_norm_backward<T>(state, record.inputs[n_layers], record.final_rstd, doutput, dx);
    });
  } else {
    dx.copy_(doutput);
  }
  for (size_t layer = n_layers; layer-- > 0;) {
    LayerActivations& activations = record.activations[kept ? layer : 0];
    if (!kept) {
      forward_layer(pass, state.layers[layer], record.inputs[layer], activations, scratch, {});
    }
    backward_layer(pass, state.layers[layer], gradients.layers[layer], record.inputs[layer],
                   activations, scratch, dx);
  }
  at::Tensor dinput;
  if (state.shard.place.is_first_stage()) {
    with_type(dx.scalar_type(), [&]<class T>() { embed_backward_own<T>(state, record, dx); });
    const at::Tensor all = gather_rows(record.rows, dx, scratch.full);
    with_type(dx.scalar_type(), [&]<class T>() {
      embed_backward<T>(all, state.vocabulary, record.tokens, gradients.embedding);
    });
  } else {
    dinput = dx.clone();
  }
  record = TrunkRecord{};
  return dinput;
}

}  // namespace orrery::model
