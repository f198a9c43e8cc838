#include "embedding.h"

#include <algorithm>  // min

#include "cuda_operators.h"

namespace orrery::model {
namespace {

/// Of own rows; those past the packed tokens have none.
std::span<const int32_t> own_positions(const PassRows& rows, std::span<const int32_t> positions) {
  if (!rows.is_cut) return positions;
  const int64_t first = std::min(rows.tensor->rank() * rows.n_own, rows.n_tokens);
  const int64_t count = std::min(rows.n_own, rows.n_tokens - first);
  return positions.subspan(static_cast<size_t>(first), static_cast<size_t>(count));
}

}  // namespace

void embed(const EmbeddingWeights& weights, const PassRows& rows, std::span<const int64_t> tokens,
           std::span<const int32_t> positions, at::Tensor& full, at::Tensor& own) {
  const bool is_sum = rows.tensor != nullptr;
  operators::look_up(weights.table, weights.vocabulary, tokens, is_sum ? full : own);
  if (is_sum) reduce_rows(rows, full, own);
  if (weights.scale != 1) own.mul_(weights.scale);
  if (weights.positions.defined()) {
    operators::add_positions(own, own_positions(rows, positions), weights.positions);
  }
}

void embed(const EmbeddingWeights& weights, const PassRows& rows, const at::Tensor& table_rows,
           const at::Tensor& positions, at::Tensor& full, at::Tensor& own) {
  const bool is_sum = rows.tensor != nullptr;
  operators::cuda::take_rows(weights.table, table_rows, kernels::Output::kOverwrite,
                             is_sum ? full : own);
  if (is_sum) reduce_rows(rows, full, own);
  if (weights.scale != 1) own.mul_(weights.scale);
  if (weights.positions.defined()) {
    operators::cuda::take_rows(weights.positions, positions, kernels::Output::kAdd, own);
  }
}

void embed_backward(const EmbeddingWeights& weights, const PassRows& rows,
                    std::span<const int64_t> tokens, std::span<const int32_t> positions,
                    at::Tensor& full, at::Tensor& gradient, EmbeddingWeights& dweights) {
  if (weights.positions.defined()) {
    operators::add_positions_backward(gradient, own_positions(rows, positions), dweights.positions);
  }
  if (weights.scale != 1) gradient.mul_(weights.scale);
  operators::look_up_backward(gather_rows(rows, gradient, full), weights.vocabulary, tokens,
                              dweights.table);
}

}  // namespace orrery::model
