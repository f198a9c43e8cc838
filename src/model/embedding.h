// Tokens -> the first rows of the residual stream, and back. Private to src/model.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "operators.h"
#include "row_exchange.h"

namespace orrery::model {

/// Views of the flat buffer on the first stage, or of the gradient's.
struct EmbeddingWeights {
  at::Tensor table;       // [V, H] of the shard; undefined on other stages
  at::Tensor positions;   // [positions, H]; undefined: the layers have rotary ones
  IndexRange vocabulary;  // rows of the table
  double scale = 1;       // of the embedded tokens
};

/// Tokens [T] at their positions -> own rows [R, H]. `full` [n_gathered, H]: room, with several
/// tensor ranks. Collective over them.
void embed(const EmbeddingWeights& weights, const PassRows& rows, std::span<const int64_t> tokens,
           std::span<const int32_t> positions, at::Tensor& full, at::Tensor& own);

/// The same of rows whose lists a GPU has: rows of the table, negative for other ranks' parts, and
/// positions, [T] int64. Of rows that are not cut.
void embed(const EmbeddingWeights& weights, const PassRows& rows, const at::Tensor& table_rows,
           const at::Tensor& positions, at::Tensor& full, at::Tensor& own);

/// Gradient by own rows [R, H], which it destroys; adds to `dweights`. Collective likewise.
void embed_backward(const EmbeddingWeights& weights, const PassRows& rows,
                    std::span<const int64_t> tokens, std::span<const int32_t> positions,
                    at::Tensor& full, at::Tensor& gradient, EmbeddingWeights& dweights);

}  // namespace orrery::model
