#include "row_exchange.h"

namespace orrery::model {

PassRows PassRows::of(int64_t n_tokens, comm::Communicator* tensor) {
  if (tensor == nullptr) return {n_tokens, n_tokens, 0, nullptr};
  const int64_t own = (n_tokens + tensor->size() - 1) / tensor->size();
  return {n_tokens, own, own * tensor->size(), tensor};
}

at::Tensor gather_rows(const PassRows& rows, const at::Tensor& own, at::Tensor& full) {
  if (rows.tensor == nullptr) return own;
  rows.tensor->all_gather(full, own);
  return full.narrow(0, 0, rows.n_tokens);
}

void reduce_rows(const PassRows& rows, at::Tensor& full, at::Tensor own) {
  full.narrow(0, rows.n_tokens, rows.n_gathered - rows.n_tokens).zero_();
  rows.tensor->reduce_scatter(own, full, comm::ReduceOp::kSum);
}

}  // namespace orrery::model
