#include "columns.h"

#include <ATen/ops/zeros.h>

namespace orrery::model {

ColumnGather::ColumnGather(const Shard& shard, int64_t vocab_size, int64_t max_rows,
                           const at::TensorOptions& options)
    : shard_(shard), vocab_size_(vocab_size) {
  if (shard_.tensor == nullptr) return;
  room_ = at::zeros({(shard_.place.n_tensor + 1) * part_of(max_rows)}, options);
}

int64_t ColumnGather::part_of(int64_t n_rows) const {
  return n_rows * (vocab_size_ / shard_.place.n_tensor + 1);
}

void ColumnGather::gather(const at::Tensor& own, at::Tensor& all) {
  // Parts differ in size by one: equal ones are exchanged, each rank's rows one behind another.
  ShardPlace place = shard_.place;
  const int64_t n_rows = own.size(0);
  const int64_t part = part_of(n_rows);
  const at::Tensor sent = room_.narrow(0, 0, part);
  at::Tensor received = room_.narrow(0, part, place.n_tensor * part).view({place.n_tensor, part});
  sent.narrow(0, 0, own.numel()).copy_(own.view({-1}));
  shard_.tensor->all_gather(received, sent);
  for (place.tensor = 0; place.tensor < place.n_tensor; ++place.tensor) {
    const IndexRange columns = vocabulary_of(vocab_size_, place);
    all.narrow(1, columns.first, columns.count)
        .copy_(received.select(0, place.tensor)
                   .narrow(0, 0, n_rows * columns.count)
                   .view({n_rows, columns.count}));
  }
}

}  // namespace orrery::model
