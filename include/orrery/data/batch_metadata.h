// What is known about a batch of samples without its tensors: ids, and for each key its type,
// shape and lengths. The master works on nothing else. Pure values; every function is local.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/data/dtype.h"
#include "orrery/data/nested_lengths.h"
#include "orrery/data/sample_id.h"

namespace orrery::data {

/// One key of a batch. Its tensor is [sum of lengths, trailing_shape...], sequences packed one
/// behind another in the order of the ids.
struct KeyMetadata {
  std::string key;
  DType dtype = DType::kI64;
  std::vector<int64_t> trailing_shape;
  NestedLengths lengths;  // one entry for each id of the batch

  bool operator==(const KeyMetadata&) const = default;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(key, dtype, trailing_shape, lengths);
  }
};

/// Half open: [begin, end).
struct IndexRange {
  int begin = 0;
  int end = 0;
  bool operator==(const IndexRange&) const = default;
};

/// How to cut a batch into consecutive parts: by sizes or by ranges, or both if they agree.
struct SplitSpec {
  std::optional<std::vector<int>> sizes;          // a part may be empty
  std::optional<std::vector<IndexRange>> ranges;  // no empty range, no gap

  /// The parts of a batch of n samples. Throws CallError unless they cover it exactly.
  std::vector<IndexRange> resolve(int n) const;
};

struct BatchMetadata {
  std::vector<SampleId> ids;      // each once
  std::vector<KeyMetadata> keys;  // in a stable order, each key once
  /// Further facts for each sample, as JSON text: name -> one text for each id.
  std::map<std::string, std::vector<std::string>> extra;

  std::size_t size() const { return ids.size(); }
  bool operator==(const BatchMetadata&) const = default;

  /// Null when the batch lacks the key.
  const KeyMetadata* find(std::string_view key) const;
  KeyMetadata* find(std::string_view key);
  /// Throws CallError naming the keys that there are.
  const KeyMetadata& at(std::string_view key) const;
  bool contains(std::string_view key) const { return find(key) != nullptr; }

  /// Throws CallError for a duplicate id or key, or a list whose size is not that of ids.
  void check() const;

  /// These keys, in the order asked for. Throws CallError when one is missing.
  BatchMetadata select(std::span<const std::string> wanted) const;
  /// These samples in this order. Throws CallError for an index out of range or one given twice.
  BatchMetadata select_samples(std::span<const int> indices) const;
  /// Samples [range.begin, range.end).
  BatchMetadata slice(IndexRange range) const;
  /// All samples in this order: select_samples that insists on a permutation.
  BatchMetadata reorder(std::span<const int> order) const;
  /// Keys renamed old -> new; names that the batch lacks are ignored.
  /// Throws CallError when two keys would get one name.
  BatchMetadata remap(const std::map<std::string, std::string>& new_names) const;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(ids, keys, extra);
  }
};

/// All samples of all parts. Keys, their order, types and extras are those of the first part (or
/// `wanted`, if given); a part that lacks an extra gets "null" for its samples.
/// Throws CallError when there is no part, a part lacks a key, types or trailing shapes disagree,
/// or a sample comes twice.
BatchMetadata gather(std::span<const BatchMetadata> parts,
                     const std::optional<std::vector<std::string>>& wanted = std::nullopt);

/// n samples over n_parts, as equal as possible, the first ones larger; parts may be empty.
std::vector<int> minibatch_sizes(int n, int n_parts);

}  // namespace orrery::data
