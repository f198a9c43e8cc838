#include "columns.h"

#include <ATen/ops/zeros.h>

namespace orrery::model {

void ColumnGather::gather(const at::Tensor& own, at::Tensor& all) {
  // Parts differ in size by one: equal ones are exchanged, each rank's rows one behind another.
  ShardPlace place = shard_.place;
  const int64_t n_rows = own.size(0);
  const int64_t part = n_rows * (vocab_size_ / place.n_tensor + 1);
  if (!room_.defined() || room_.numel() < (place.n_tensor + 1) * part) {
    room_ = at::zeros({(place.n_tensor + 1) * part}, own.options());
  }
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
