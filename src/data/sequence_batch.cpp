#include "orrery/data/sequence_batch.h"

#include <ATen/ATen.h>  // precompiled

#include <utility>  // move

#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // CallError, ShapeError
#include "orrery/base/index.h"
#include "orrery/base/text.h"  // concat, join

namespace orrery::data {

namespace {

using base::concat;

/// Rows of the chosen samples, neighbours as one piece. A single piece is a view.
at::Tensor select_rows(const at::Tensor& tensor, const std::vector<int64_t>& offsets,
                       std::span<const int> indices) {
  std::vector<at::Tensor> pieces;
  for (std::size_t i = 0; i < indices.size();) {
    std::size_t last = i;
    while (last + 1 < indices.size() && indices[last + 1] == indices[last] + 1) ++last;
    const int64_t begin = offsets[static_cast<std::size_t>(indices[i])];
    const int64_t end = offsets[static_cast<std::size_t>(indices[last]) + 1];
    pieces.push_back(tensor.narrow(0, begin, end - begin));
    i = last + 1;
  }
  if (pieces.empty()) return tensor.narrow(0, 0, 0);
  return pieces.size() == 1 ? pieces[0] : at::cat(pieces);
}

void check_tensor(const KeyMetadata& key, const at::Tensor& tensor) {
  std::vector<int64_t> shape = {key.lengths.grand_total()};
  shape.insert(shape.end(), key.trailing_shape.begin(), key.trailing_shape.end());
  if (tensor.sizes() == at::IntArrayRef(shape) && tensor.scalar_type() == scalar_type(key.dtype)) {
    return;
  }
  throw ShapeError(
      concat("batch: tensor of key ", key.key, " does not fit its metadata"),
      {.expected = concat(name(key.dtype), " [", base::join(shape, ", "), "]"),
       .got = concat(tensor.scalar_type(), " [", base::join(tensor.sizes(), ", "), "]"),
       .advice = "the rows are the sum of the lengths of all sequences"});
}

}  // namespace

at::ScalarType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return at::kBool;
    case DType::kU8:
      return at::kByte;
    case DType::kI32:
      return at::kInt;
    case DType::kI64:
      return at::kLong;
    case DType::kBf16:
      return at::kBFloat16;
    case DType::kF16:
      return at::kHalf;
    case DType::kF32:
      return at::kFloat;
    case DType::kF64:
      return at::kDouble;
  }
  throw ShapeError("batch: unknown element type",
                   {.expected = "one of DType",
                    .got = concat(static_cast<int>(dtype)),
                    .advice = "a message or file of another version of Orrery?"});
}

DType dtype_of(at::ScalarType type) {
  switch (type) {
    case at::kBool:
      return DType::kBool;
    case at::kByte:
      return DType::kU8;
    case at::kInt:
      return DType::kI32;
    case at::kLong:
      return DType::kI64;
    case at::kBFloat16:
      return DType::kBf16;
    case at::kHalf:
      return DType::kF16;
    case at::kFloat:
      return DType::kF32;
    case at::kDouble:
      return DType::kF64;
    default:
      throw ShapeError("batch: a tensor of this type cannot be part of a batch",
                       {.expected = "bool, uint8, int32, int64, bf16, fp16, fp32 or fp64",
                        .got = concat(type),
                        .advice = "convert it before it is returned"});
  }
}

const at::Tensor& SequenceBatch::at(std::string_view key) const {
  const auto found = data.find(std::string(key));
  if (found == data.end()) {
    meta.at(key);  // says which keys there are
    throw CallError(concat("batch: key ", key, " has no tensor here"),
                    {.expected = "the tensor",
                     .got = "its metadata only",
                     .advice = "it must be an input of the call to be moved to this worker"});
  }
  return found->second;
}

void SequenceBatch::set(const std::string& key, at::Tensor tensor, NestedLengths lengths) {
  if (tensor.dim() == 0) {
    throw ShapeError(concat("batch: tensor of key ", key, " is a scalar"),
                     {.expected = "[sum of lengths, ...]", .got = "[]", .advice = {}});
  }
  KeyMetadata described{.key = key,
                        .dtype = dtype_of(tensor.scalar_type()),
                        .trailing_shape = tensor.sizes().slice(1).vec(),
                        .lengths = std::move(lengths)};
  check_tensor(described, tensor);
  if (KeyMetadata* mine = meta.find(key)) {
    *mine = std::move(described);
  } else {
    meta.keys.push_back(std::move(described));
  }
  data[key] = std::move(tensor);
}

void SequenceBatch::check() const {
  meta.check();
  for (const auto& [key, tensor] : data) check_tensor(meta.at(key), tensor);
}

SequenceBatch SequenceBatch::select(std::span<const std::string> wanted) const {
  SequenceBatch result{.meta = meta.select(wanted), .data = {}};
  for (const KeyMetadata& key : result.meta.keys) {
    if (const auto found = data.find(key.key); found != data.end()) result.data.insert(*found);
  }
  return result;
}

SequenceBatch SequenceBatch::select_samples(std::span<const int> indices) const {
  SequenceBatch result{.meta = meta.select_samples(indices), .data = {}};
  for (const auto& [key, tensor] : data) {
    result.data[key] = select_rows(tensor, meta.at(key).lengths.element_offsets(), indices);
  }
  return result;
}

namespace {

using Offsets = std::map<std::string, std::vector<int64_t>>;  // [key][sample]: first row

Offsets offsets_of(const SequenceBatch& batch) {
  Offsets offsets;
  for (const auto& [key, tensor] : batch.data) {
    offsets[key] = batch.meta.at(key).lengths.element_offsets();
  }
  return offsets;
}

SequenceBatch slice_at(const SequenceBatch& batch, IndexRange range, const Offsets& offsets) {
  SequenceBatch part{.meta = batch.meta.slice(range), .data = {}};
  for (const auto& [key, tensor] : batch.data) {
    const std::vector<int64_t>& first_row = offsets.at(key);
    const int64_t begin = first_row[base::index(range.begin)];
    const int64_t end = first_row[base::index(range.end)];
    part.data[key] = tensor.narrow(0, begin, end - begin);
  }
  return part;
}

}  // namespace

std::vector<SequenceBatch> SequenceBatch::split(const SplitSpec& spec) const {
  const Offsets offsets = offsets_of(*this);
  std::vector<SequenceBatch> parts;
  for (const IndexRange& range : spec.resolve(static_cast<int>(size()))) {
    parts.push_back(slice_at(*this, range, offsets));
  }
  return parts;
}

SequenceBatch SequenceBatch::reorder(std::span<const int> order) const {
  if (order.size() != size()) meta.reorder(order);  // throws, naming both numbers
  return select_samples(order);
}

SequenceBatch SequenceBatch::remap(const std::map<std::string, std::string>& new_names) const {
  SequenceBatch result{.meta = meta.remap(new_names), .data = {}};
  for (const auto& [key, tensor] : data) {
    const auto found = new_names.find(key);
    result.data[found == new_names.end() ? key : found->second] = tensor;
  }
  return result;
}

SequenceBatch gather(std::span<const SequenceBatch> parts,
                     const std::optional<std::vector<std::string>>& wanted) {
  std::vector<BatchMetadata> metadata;
  metadata.reserve(parts.size());
  for (const SequenceBatch& part : parts) metadata.push_back(part.meta);
  SequenceBatch result{.meta = gather(metadata, wanted), .data = {}};
  for (const KeyMetadata& key : result.meta.keys) {
    std::vector<at::Tensor> pieces;
    for (const SequenceBatch& part : parts) {
      if (const auto found = part.data.find(key.key); found != part.data.end()) {
        pieces.push_back(found->second);
      }
    }
    if (pieces.size() == parts.size()) {
      result.data[key.key] = pieces.size() == 1 ? pieces[0] : at::cat(pieces);
    }
  }
  return result;
}

}  // namespace orrery::data
