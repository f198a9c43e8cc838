// A batch of samples with its tensors: for each key one tensor that holds all sequences one behind
// another, without padding. What an interface receives and returns.
//
// A key may have metadata but no tensor (it is on another worker); a batch whose `data` is empty is
// metadata only. All functions are local. Parts share memory with the batch that they were cut
// from wherever their samples lie side by side there: do not change tensors in place.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/data/batch_metadata.h"

namespace orrery::data {

at::ScalarType scalar_type(DType dtype);
/// Throws ShapeError for a type that batches cannot hold.
DType dtype_of(at::ScalarType type);

struct SequenceBatch {
  BatchMetadata meta;
  std::map<std::string, at::Tensor> data;  // key -> [sum of its lengths, trailing_shape...]

  std::size_t size() const { return meta.size(); }

  /// The tensor of a key. Throws CallError when the batch lacks the key or its tensor.
  const at::Tensor& at(std::string_view key) const;
  bool has_data(const std::string& key) const { return data.contains(key); }

  /// Adds or replaces a key; type and trailing shape are taken from the tensor.
  /// Throws ShapeError when the tensor does not have as many rows as the lengths say.
  void set(const std::string& key, at::Tensor tensor, NestedLengths lengths);

  /// Throws CallError for metadata that contradicts itself, ShapeError for a tensor that has not
  /// the shape and type that the metadata says.
  void check() const;

  SequenceBatch select(std::span<const std::string> wanted) const;
  /// These samples in this order: copies, except where a range of neighbours is asked for.
  SequenceBatch select_samples(std::span<const int> indices) const;
  std::vector<SequenceBatch> split(const SplitSpec& spec) const;
  SequenceBatch reorder(std::span<const int> order) const;
  SequenceBatch remap(const std::map<std::string, std::string>& new_names) const;
};

/// All samples of all parts; keys and rules as for BatchMetadata. A key keeps its tensor only if
/// every part has it.
SequenceBatch gather(std::span<const SequenceBatch> parts,
                     const std::optional<std::vector<std::string>>& wanted = std::nullopt);

}  // namespace orrery::data
