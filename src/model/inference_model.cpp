#include "inference_model.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>  // copy_n, max
#include <cmath>      // sqrt, exp

#include "activation_function.h"
#include "orrery/base/error.h"
#include "orrery/kernels/decode_attention.h"
#include "orrery/kernels/packed_gemm.h"
#include "orrery/kernels/rms_norm.h"
#include "orrery/kernels/rope.h"
#include "orrery/kernels/varlen_attention.h"
#include "rope_table.h"
#include "routing.h"
#include "row_norm.h"

namespace orrery::model {
namespace {

/// Uninitialised.
template <class T>
std::unique_ptr<T[]> numbers(int64_t n) {
  return std::make_unique_for_overwrite<T[]>(static_cast<size_t>(n));
}

/// A view for the communicators.
template <class T>
at::Tensor tensor_over(T* memory, at::IntArrayRef sizes) {
  return at::from_blob(memory, sizes, c10::CppTypeToScalarType<T>::value);
}

double score_scale(const Architecture& a) {
  return 1.0 / std::sqrt(static_cast<double>(a.head_dim));
}

}  // namespace

template <class T>
InferenceModel<T>::InferenceModel(const Decoder& decoder, const InferenceWeights<T>& weights,
                                  int64_t max_rows, int64_t max_context)
    : shard_(decoder.shard()),
      architecture_(shard_architecture(decoder.architecture(), shard_.place)),
      vocab_size_(decoder.architecture().vocab_size),
      vocabulary_(vocabulary_of(vocab_size_, shard_.place)),
      weights_(weights) {
  const Architecture& a = architecture_;
  if (!a.learned_positions) {
    const size_t half = static_cast<size_t>(max_context * a.head_dim / 2);
    cosines_.resize(half);
    sines_.resize(half);
    fill_rope_table<T>(a, max_context, cosines_.data(), sines_.data());
  }

  positions_.resize(static_cast<size_t>(max_rows));
  cu_seqlens_.resize(static_cast<size_t>(max_rows) + 1);
  x_ = numbers<T>(max_rows * a.hidden_size);
  normed_ = numbers<T>(max_rows * a.hidden_size);
  qkv_ = numbers<T>(max_rows * a.qkv_size());
  attention_ = numbers<T>(max_rows * a.query_size());
  const Experts& experts = a.experts;
  const bool has_experts = experts.count > 0;
  int64_t width = a.has_dense_layers() ? a.intermediate_size : 0;
  if (has_experts) {
    width = std::max({width, experts.intermediate_size, experts.shared_intermediate_size});
    expert_in_ = numbers<T>(max_rows * a.hidden_size);
    expert_out_ = numbers<T>(max_rows * a.hidden_size);
    router_ = numbers<T>(max_rows * std::max<int64_t>(experts.count, 1));
    route_weight_ = numbers<T>(max_rows * experts.per_token);
    route_index_.resize(static_cast<size_t>(max_rows * experts.per_token));
    expert_rows_.reserve(static_cast<size_t>(max_rows));
    expert_places_.reserve(static_cast<size_t>(max_rows));
  }
  up_ = numbers<T>(max_rows * (a.gated_mlp ? 2 : 1) * width);
  hidden_ = numbers<T>(max_rows * width);
  if (shard_.tensor != nullptr || has_experts) partial_ = numbers<T>(max_rows * a.hidden_size);
  attention_scratch_ = numbers<T>(
      kernels::decode_attention_scratch(a.n_heads, a.n_kv_heads, a.head_dim, max_context));
}

template <class T>
void InferenceModel<T>::matmul(const Matrix& weight, const T* x, int64_t n_rows, T* y,
                               const T* residual) {
  kernels::packed_gemm<T>({.x = x,
                           .packed = weight.packed,
                           .bias = weight.bias.empty() ? nullptr : weight.bias.data(),
                           .residual = residual,
                           .y = y,
                           .n_rows = n_rows,
                           .n_in = weight.n_in,
                           .n_out = weight.n_out,
                           .x_stride = weight.n_in,
                           .y_stride = weight.n_out});
}

template <class T>
void InferenceModel<T>::norm(const T* x, const NormWeights<T>& weights, int64_t n_rows, T* y) {
  const NormKind kind = architecture_.norm;
  norm_rows<T>({// 1 + w was made when the weights were packed.
                .kind = kind == NormKind::kRmsPlusOne ? NormKind::kRms : kind,
                .x = x,
                .weight = weights.weight.data(),
                .bias = weights.bias.empty() ? nullptr : weights.bias.data(),
                .y = y,
                .n_rows = n_rows,
                .width = architecture_.hidden_size,
                .eps = architecture_.norm_eps});
}

/// Zeros for tokens that other tensor ranks have.
template <class T>
void InferenceModel<T>::look_up(std::span<const int64_t> tokens, T* rows) {
  const int64_t width = architecture_.hidden_size;
  for (const int64_t token : tokens) {
    const int64_t row = token - vocabulary_.first;
    if (row >= 0 && row < vocabulary_.count) {
      std::copy_n(weights_.embedding + row * width, width, rows);
    } else {
      std::fill_n(rows, width, T(0));
    }
    rows += width;
  }
}

template <class T>
void InferenceModel<T>::sum_over_tensor_ranks(T* rows, int64_t n_rows) {
  at::Tensor sums = tensor_over(rows, {n_rows, architecture_.hidden_size});
  shard_.tensor->all_reduce(sums, comm::ReduceOp::kSum);
}

/// x += the matmul, summed over the tensor ranks.
template <class T>
void InferenceModel<T>::add_matmul(const Matrix& weight, const T* x, int64_t n_rows) {
  if (shard_.tensor == nullptr) return matmul(weight, x, n_rows, x_.get(), x_.get());
  matmul(weight, x, n_rows, partial_.get());
  sum_over_tensor_ranks(partial_.get(), n_rows);
  const int64_t n = n_rows * architecture_.hidden_size;
  for (int64_t i = 0; i < n; ++i) x_[i] += partial_[i];
}

/// Completes the embedded tokens, or receives what the stage before made of them.
template <class T>
void InferenceModel<T>::begin_stage(int64_t n_rows) {
  if (!shard_.place.is_first_stage()) {
    const at::Tensor rows = tensor_over(x_.get(), {n_rows, architecture_.hidden_size});
    shard_.pipe->exchange({}, {{shard_.place.pipe - 1, rows}});
  } else if (shard_.tensor != nullptr) {
    sum_over_tensor_ranks(x_.get(), n_rows);
  }
  if (!shard_.place.is_first_stage()) return;
  const int64_t width = architecture_.hidden_size;
  if (architecture_.embedding_scale != 1) {
    const T scale = static_cast<T>(architecture_.embedding_scale);
    for (int64_t i = 0; i < n_rows * width; ++i) x_[i] *= scale;
  }
  if (weights_.positions == nullptr) return;
  for (int64_t row = 0; row < n_rows; ++row) {
    const T* position = weights_.positions + positions_[static_cast<size_t>(row)] * width;
    for (int64_t i = 0; i < width; ++i) x_[row * width + i] += position[i];
  }
}

template <class T>
void InferenceModel<T>::end_stage(int64_t n_rows) {
  if (shard_.place.is_last_stage()) return;
  const at::Tensor rows = tensor_over(x_.get(), {n_rows, architecture_.hidden_size});
  shard_.pipe->exchange({{shard_.place.pipe + 1, rows}}, {});
}

/// normed_ [n_rows, H] -> logits [n_rows, V].
template <class T>
void InferenceModel<T>::compute_logits(int64_t n_rows, T* logits) {
  if (shard_.tensor == nullptr) return matmul(weights_.head, normed_.get(), n_rows, logits);
  // Parts differ in size by one: equal ones are exchanged, each rank's rows one behind another.
  ShardPlace place = shard_.place;
  const int64_t part = n_rows * (vocab_size_ / place.n_tensor + 1);
  const auto room = static_cast<size_t>((place.n_tensor + 1) * part);
  if (parts_.size() < room) parts_.resize(room);
  T* const own = parts_.data();
  matmul(weights_.head, normed_.get(), n_rows, own);
  std::fill_n(own + n_rows * vocabulary_.count, part - n_rows * vocabulary_.count, T(0));
  T* const all = own + part;
  at::Tensor gathered = tensor_over(all, {place.n_tensor, part});
  shard_.tensor->all_gather(gathered, tensor_over(own, {part}));
  for (place.tensor = 0; place.tensor < place.n_tensor; ++place.tensor) {
    const IndexRange columns = vocabulary_of(vocab_size_, place);
    for (int64_t row = 0; row < n_rows; ++row) {
      std::copy_n(all + place.tensor * part + row * columns.count, columns.count,
                  logits + row * vocab_size_ + columns.first);
    }
  }
}

/// x -> normed -> q, k, v in qkv_, normed by head where the model does that, and rotated.
template <class T>
void InferenceModel<T>::project_and_rotate(const Layer& layer, int64_t n_rows) {
  const Architecture& a = architecture_;
  norm(x_.get(), layer.input_norm, n_rows, normed_.get());
  matmul(layer.qkv, normed_.get(), n_rows, qkv_.get());
  const auto norm_heads = [&](const std::vector<T>& weight, int64_t first_head, int64_t n_heads) {
    T* heads = qkv_.get() + first_head * a.head_dim;
    kernels::rms_norm<T>({.x = heads,
                          .weight = weight.data(),
                          .y = heads,
                          .n_tokens = n_rows,
                          .n_groups = n_heads,
                          .width = a.head_dim,
                          .x_stride = a.qkv_size(),
                          .y_stride = a.qkv_size(),
                          .eps = a.norm_eps});
  };
  if (a.qk_norm) {
    norm_heads(layer.q_norm, 0, a.n_heads);
    norm_heads(layer.k_norm, a.n_heads, a.n_kv_heads);
  }
  if (a.learned_positions) return;
  kernels::rope<T>({.x = qkv_.get(),
                    .positions = positions_.data(),
                    .cosines = cosines_.data(),
                    .sines = sines_.data(),
                    .n_tokens = n_rows,
                    .n_heads = a.n_heads + a.n_kv_heads,
                    .head_dim = a.head_dim,
                    .x_stride = a.qkv_size()});
}

template <class T>
void InferenceModel<T>::write_row(const PagePool<T>& pages, int64_t layer, int64_t row,
                                  int32_t page, int64_t slot) {
  const Architecture& a = architecture_;
  const T* k = qkv_.get() + row * a.qkv_size() + a.query_size();
  kernels::write_page_slot<T>({.k = k,
                               .v = k + a.kv_size(),
                               .page = pages.page(layer, page),
                               .slot = slot,
                               .n_kv_heads = a.n_kv_heads,
                               .head_dim = a.head_dim});
}

/// x [n_rows, H] -> the rows that go into the second matmul, in hidden_.
template <class T>
void InferenceModel<T>::run_mlp(const Mlp& mlp, const T* x, int64_t n_rows, T* up) {
  matmul(mlp.up, x, n_rows, up);
  apply_activation<T>({.function = architecture_.activation_function,
                       .is_gated = architecture_.gated_mlp,
                       .n_rows = n_rows,
                       .width = mlp.down.n_in},
                      up, hidden_.get());
}

/// The experts of normed_ onto x. A row adds its experts in their order, whatever other rows do.
template <class T>
void InferenceModel<T>::add_experts(const Layer& layer, int64_t n_rows) {
  const Experts& experts = architecture_.experts;
  const int64_t width = architecture_.hidden_size;
  matmul(layer.router, normed_.get(), n_rows, router_.get());
  route<T>({.logits = router_.get(),
            .index = route_index_.data(),
            .weight = route_weight_.get(),
            .n_rows = n_rows,
            .n_experts = experts.count,
            .per_token = experts.per_token,
            .normalise = experts.normalise});
  std::fill_n(partial_.get(), n_rows * width, T(0));
  for (size_t own = 0; own < layer.experts.size(); ++own) {
    const int64_t expert = layer.first_expert + static_cast<int64_t>(own);
    expert_rows_.clear();
    expert_places_.clear();
    for (int64_t place = 0; place < n_rows * experts.per_token; ++place) {
      if (route_index_[static_cast<size_t>(place)] != expert) continue;
      const int64_t row = place / experts.per_token;
      std::copy_n(normed_.get() + row * width, width,
                  expert_in_.get() + static_cast<int64_t>(expert_rows_.size()) * width);
      expert_rows_.push_back(row);
      expert_places_.push_back(place);
    }
    const auto count = static_cast<int64_t>(expert_rows_.size());
    if (count == 0) continue;
    run_mlp(layer.experts[own], expert_in_.get(), count, up_.get());
    matmul(layer.experts[own].down, hidden_.get(), count, expert_out_.get());
    for (int64_t i = 0; i < count; ++i) {
      const T weight = route_weight_[expert_places_[static_cast<size_t>(i)]];
      T* sum = partial_.get() + expert_rows_[static_cast<size_t>(i)] * width;
      const T* out = expert_out_.get() + i * width;
      for (int64_t j = 0; j < width; ++j) sum[j] += weight * out[j];
    }
  }
  if (layer.shared_gate.packed != nullptr) {
    run_mlp(layer.shared, normed_.get(), n_rows, up_.get());
    matmul(layer.shared.down, hidden_.get(), n_rows, expert_out_.get());
    matmul(layer.shared_gate, normed_.get(), n_rows, router_.get());
    for (int64_t row = 0; row < n_rows; ++row) {
      const T gate = 1 / (1 + std::exp(-router_[row]));
      for (int64_t j = row * width; j < (row + 1) * width; ++j) {
        partial_[j] += gate * expert_out_[j];
      }
    }
  }
  if (shard_.tensor != nullptr) sum_over_tensor_ranks(partial_.get(), n_rows);
  for (int64_t i = 0; i < n_rows * width; ++i) x_[i] += partial_[i];
}

/// attention -> output matmul onto the residual stream -> MLP or experts onto it.
template <class T>
void InferenceModel<T>::finish_layer(const Layer& layer, int64_t n_rows) {
  add_matmul(layer.output, attention_.get(), n_rows);
  norm(x_.get(), layer.post_attention_norm, n_rows, normed_.get());
  if (layer.has_experts()) return add_experts(layer, n_rows);
  run_mlp(layer.mlp, normed_.get(), n_rows, up_.get());
  add_matmul(layer.mlp.down, hidden_.get(), n_rows);
}

template <class T>
void InferenceModel<T>::prefill(std::span<const PrefillItem> prompts, PagePool<T>& pages,
                                T* logits) {
  const Architecture& a = architecture_;
  int64_t n_rows = 0;
  cu_seqlens_[0] = 0;
  for (size_t s = 0; s < prompts.size(); ++s) {
    const std::span<const int64_t> tokens = prompts[s].tokens;
    ORRERY_ASSERT(
        n_rows + static_cast<int64_t>(tokens.size()) <= static_cast<int64_t>(positions_.size()),
        "more prompt tokens in one prefill than rows");
    if (shard_.place.is_first_stage()) look_up(tokens, x_.get() + n_rows * a.hidden_size);
    for (size_t t = 0; t < tokens.size(); ++t) {
      positions_[static_cast<size_t>(n_rows++)] = static_cast<int32_t>(t);
    }
    cu_seqlens_[s + 1] = static_cast<int32_t>(n_rows);
  }
  begin_stage(n_rows);
  for (int64_t l = 0; l < a.n_layers; ++l) {
    const Layer& layer = weights_.layers[static_cast<size_t>(l)];
    project_and_rotate(layer, n_rows);
    for (size_t s = 0; s < prompts.size(); ++s) {
      for (int64_t row = cu_seqlens_[s]; row < cu_seqlens_[s + 1]; ++row) {
        const int64_t t = row - cu_seqlens_[s];
        write_row(pages, l, row, prompts[s].pages[t / kernels::kPageTokens],
                  t % kernels::kPageTokens);
      }
    }
    kernels::varlen_attention<T>({.shape = {.cu_seqlens = cu_seqlens_.data(),
                                            .n_sequences = static_cast<int64_t>(prompts.size()),
                                            .n_heads = a.n_heads,
                                            .n_kv_heads = a.n_kv_heads,
                                            .head_dim = a.head_dim,
                                            .window = layer.window,
                                            .scale = score_scale(a)},
                                  .q = qkv_.get(),
                                  .k = qkv_.get() + a.query_size(),
                                  .v = qkv_.get() + a.query_size() + a.kv_size(),
                                  .q_stride = a.qkv_size(),
                                  .k_stride = a.qkv_size(),
                                  .v_stride = a.qkv_size(),
                                  .out = attention_.get(),
                                  .out_stride = a.query_size()});
    finish_layer(layer, n_rows);
  }
  end_stage(n_rows);
  if (!shard_.place.is_last_stage()) return;
  for (size_t s = 0; s < prompts.size(); ++s) {
    const T* last = x_.get() + (cu_seqlens_[s + 1] - 1) * a.hidden_size;
    norm(last, weights_.final_norm, 1, normed_.get() + static_cast<int64_t>(s) * a.hidden_size);
  }
  compute_logits(static_cast<int64_t>(prompts.size()), logits);
}

template <class T>
void InferenceModel<T>::decode(const DecodeInput& input, PagePool<T>& pages, T* logits) {
  const Architecture& a = architecture_;
  const int64_t n_rows = static_cast<int64_t>(input.tokens.size());
  if (shard_.place.is_first_stage()) look_up(input.tokens, x_.get());
  for (int64_t row = 0; row < n_rows; ++row) {
    positions_[static_cast<size_t>(row)] = input.n_context[static_cast<size_t>(row)] - 1;
  }
  begin_stage(n_rows);
  for (int64_t l = 0; l < a.n_layers; ++l) {
    const Layer& layer = weights_.layers[static_cast<size_t>(l)];
    project_and_rotate(layer, n_rows);
    for (int64_t row = 0; row < n_rows; ++row) {
      const int64_t t = positions_[static_cast<size_t>(row)];
      write_row(pages, l, row,
                input.page_table[row * input.table_stride + t / kernels::kPageTokens],
                t % kernels::kPageTokens);
    }
    kernels::decode_attention<T>({.q = qkv_.get(),
                                  .q_stride = a.qkv_size(),
                                  .pages = pages.layer(l),
                                  .page_table = input.page_table,
                                  .table_stride = input.table_stride,
                                  .n_context = input.n_context.data(),
                                  .out = attention_.get(),
                                  .out_stride = a.query_size(),
                                  .scratch = attention_scratch_.get(),
                                  .n_sequences = n_rows,
                                  .n_heads = a.n_heads,
                                  .n_kv_heads = a.n_kv_heads,
                                  .head_dim = a.head_dim,
                                  .window = layer.window,
                                  .scale = score_scale(a)});
    finish_layer(layer, n_rows);
  }
  end_stage(n_rows);
  if (!shard_.place.is_last_stage()) return;
  norm(x_.get(), weights_.final_norm, n_rows, normed_.get());
  compute_logits(n_rows, logits);
}

template class InferenceModel<float>;
template class InferenceModel<double>;

}  // namespace orrery::model
