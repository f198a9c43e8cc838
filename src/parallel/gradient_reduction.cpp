#include "orrery/parallel/gradient_reduction.h"

#include <algorithm>
#include <vector>

#include "orrery/model/arithmetic_type.h"

namespace orrery::parallel {

namespace {

/// A part of what a collective sums, and the gradient that it belongs to.
struct SharedParameter {
  at::Tensor gradient;  // view of the flat buffer, [part.numel()]
  int64_t offset = 0;   // in the buffer that is summed
};

/// What tensor ranks share: all of a norm, or some of the key and value heads. The buffer has room
/// for the whole parameter of each, so that ranks with different heads do not meet.
std::vector<SharedParameter> shared_parts(model::Decoder& decoder, int64_t& buffer_numel) {
  const int64_t n_kv = decoder.architecture().n_kv_heads;
  const bool shares_heads = n_kv < decoder.shard().place.n_tensor;
  const at::Tensor& flat = decoder.parameters().gradients();
  std::vector<SharedParameter> parts;
  buffer_numel = 0;
  for (const model::ParameterSpec& spec : decoder.parameters().table().parameters) {
    if (spec.split != model::TensorSplit::kWhole && !(spec.is_kv && shares_heads)) continue;
    int64_t columns = 1;
    for (size_t i = 1; i < spec.shape.size(); ++i) columns *= spec.shape[i];
    parts.push_back(
        {flat.narrow(0, spec.offset, spec.numel), buffer_numel + spec.first[0] * columns});
    buffer_numel += spec.full_shape[0] * columns;
  }
  return parts;
}

/// Elements of each rank's block in bucket `first`, and where the block lies.
struct Blocks {
  int64_t partition = 0;  // ceil(numel / ranks)
  int64_t numel = 0;

  int64_t begin(int rank, int64_t first) const { return std::min(numel, rank * partition + first); }
  int64_t count(int rank, int64_t first, int64_t size) const {
    const int64_t end = std::min(numel, (rank + 1) * partition);
    return std::clamp<int64_t>(end - begin(rank, first), 0, size);
  }
};

}  // namespace

void sum_shared_gradients(model::Decoder& decoder, const ReplicaGroups& groups) {
  if (groups.tensor != nullptr && groups.tensor->size() > 1) {
    int64_t numel = 0;
    const std::vector<SharedParameter> parts = shared_parts(decoder, numel);
    at::Tensor buffer = at::zeros({numel}, model::sums_of(decoder.parameters().gradients()));
    for (const SharedParameter& part : parts) {
      buffer.narrow(0, part.offset, part.gradient.numel()).copy_(part.gradient);
    }
    groups.tensor->all_reduce(buffer, comm::ReduceOp::kSum);
    for (const SharedParameter& part : parts) {
      part.gradient.copy_(buffer.narrow(0, part.offset, part.gradient.numel()));
    }
  }
  if (groups.embedding != nullptr && decoder.architecture().tie_embeddings) {
    // Of two ranks: their sum is rounded once, also in bf16.
    at::Tensor embedding = decoder.parameters().gradient("model.embed_tokens.weight");
    groups.embedding->all_reduce(embedding, comm::ReduceOp::kSum);
  }
}

model::IndexRange owned_partition(int64_t numel, int data_rank, int n_data) {
  const int64_t each = (numel + n_data - 1) / n_data;
  const int64_t first = std::min(numel, data_rank * each);
  return {first, std::min(numel, first + each) - first};
}

at::Tensor reduce_to_owners(const at::Tensor& gradients, comm::Communicator& group,
                            int64_t bucket_elements) {
  if (group.size() == 1) return gradients;
  const int n = group.size();
  const Blocks blocks{(gradients.numel() + n - 1) / n, gradients.numel()};
  const int64_t size = std::max<int64_t>(1, std::min(blocks.partition, bucket_elements / n));
  at::Tensor owned =
      at::empty({owned_partition(gradients.numel(), group.rank(), n).count}, gradients.options());
  at::Tensor in = at::zeros({n, size}, model::sums_of(gradients));
  at::Tensor out = at::empty({size}, in.options());
  for (int64_t first = 0; first < blocks.partition; first += size) {
    for (int rank = 0; rank < n; ++rank) {
      const int64_t count = blocks.count(rank, first, size);
      in.select(0, rank)
          .narrow(0, 0, count)
          .copy_(gradients.narrow(0, blocks.begin(rank, first), count));
    }
    group.reduce_scatter(out, in, comm::ReduceOp::kSum);
    const int64_t own = blocks.count(group.rank(), first, size);
    if (own > 0) owned.narrow(0, first, own).copy_(out.narrow(0, 0, own));
  }
  return owned;
}

void gather_from_owners(const at::Tensor& values, comm::Communicator& group,
                        int64_t bucket_elements) {
  if (group.size() == 1) return;
  const int n = group.size();
  const Blocks blocks{(values.numel() + n - 1) / n, values.numel()};
  const int64_t size = std::max<int64_t>(1, std::min(blocks.partition, bucket_elements / n));
  at::Tensor in = at::zeros({size}, values.options());
  at::Tensor out = at::empty({n, size}, values.options());
  for (int64_t first = 0; first < blocks.partition; first += size) {
    const int64_t own = blocks.count(group.rank(), first, size);
    in.narrow(0, 0, own).copy_(values.narrow(0, blocks.begin(group.rank(), first), own));
    group.all_gather(out, in);
    for (int rank = 0; rank < n; ++rank) {
      const int64_t count = blocks.count(rank, first, size);
      values.narrow(0, blocks.begin(rank, first), count)
          .copy_(out.select(0, rank).narrow(0, 0, count));
    }
  }
}

double counted_square_sum(const at::Tensor& owned, const model::ParameterTable& table,
                          const model::IndexRange& partition) {
  std::vector<at::Tensor> norms;  // [1] each; the host reads all at once
  const auto add = [&](int64_t begin, int64_t end) {
    begin = std::max(begin, partition.first);
    end = std::min(end, partition.end());
    if (begin >= end) return;
    const at::Tensor part = owned.narrow(0, begin - partition.first, end - begin);
    const bool is_narrow = part.scalar_type() == at::kBFloat16;
    norms.push_back((is_narrow ? part.norm(2, at::kFloat) : part.norm()).view({1}));
  };
  // Neighbours that are counted are one range.
  int64_t begin = 0, end = 0;
  for (const model::ParameterSpec& spec : table.parameters) {
    if (spec.is_copy) {
      add(begin, end);
      begin = spec.offset + spec.numel;
    }
    end = spec.offset + spec.numel;
  }
  add(begin, end);
  if (norms.empty()) return 0;
  const at::Tensor all = norms.size() == 1 ? norms[0] : at::cat(norms);
  const at::Tensor read = all.cpu().to(at::kDouble);
  double sum = 0;
  for (int64_t i = 0; i < read.numel(); ++i) {
    const double norm = read.const_data_ptr<double>()[i];
    sum += norm * norm;
  }
  return sum;
}

double clip_scale(double norm, double max_norm) {
  return max_norm > 0 && norm > max_norm ? max_norm / norm : 1;
}

}  // namespace orrery::parallel
