#include "row_exchange.h"

#include <ATen/ops/empty.h>

namespace orrery::model {

PassRows PassRows::cut(int64_t n_tokens, comm::Communicator* tensor) {
  if (tensor == nullptr) return whole(n_tokens, nullptr);
  const int64_t own = (n_tokens + tensor->size() - 1) / tensor->size();
  return {n_tokens, own, own * tensor->size(), tensor, true};
}

PassRows PassRows::whole(int64_t n_tokens, comm::Communicator* tensor, int64_t at_once) {
  return {n_tokens, n_tokens, tensor == nullptr ? 0 : n_tokens, tensor, false, at_once};
}

at::Tensor gather_rows(const PassRows& rows, const at::Tensor& own, at::Tensor& full) {
  if (!rows.is_cut) return own;
  rows.tensor->all_gather(full, own);
  return full.narrow(0, 0, rows.n_tokens);
}

void reduce_rows(const PassRows& rows, at::Tensor& full, at::Tensor own) {
  if (!rows.is_cut) {
    rows.tensor->all_reduce(full, comm::ReduceOp::kSum);
    own.copy_(full);
    return;
  }
  full.narrow(0, rows.n_tokens, rows.n_gathered - rows.n_tokens).zero_();
  rows.tensor->reduce_scatter(own, full, comm::ReduceOp::kSum);
}

void add_reduced_rows(const PassRows& rows, at::Tensor& full, const at::Tensor& residual,
                      at::Tensor& own) {
  reduce_rows(rows, full, own);
  if (residual.defined()) own.add_(residual);
}

void add_reduced_rows(const PassRows& rows, const at::Tensor& partial, at::Tensor& full,
                      const at::Tensor& residual, at::Tensor& own) {
  full.narrow(0, 0, rows.n_tokens).copy_(partial);
  add_reduced_rows(rows, full, residual, own);
}

at::Tensor gathered(const PassRows& rows, const at::Tensor& own) {
  if (rows.tensor == nullptr) return own;
  at::Tensor full = at::empty({rows.n_gathered, own.size(1)}, own.options());
  return gather_rows(rows, own.contiguous(), full);
}

at::Tensor reduced(const PassRows& rows, const at::Tensor& partial) {
  if (rows.tensor == nullptr) return partial;
  at::Tensor full = at::empty({rows.n_gathered, partial.size(1)}, partial.options());
  at::Tensor own = at::empty({rows.n_own, partial.size(1)}, partial.options());
  add_reduced_rows(rows, partial, full, {}, own);
  return own;
}

}  // namespace orrery::model
