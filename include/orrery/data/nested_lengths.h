// Lengths of the sequences of a batch under one key, by sample and member: a sample may hold
// several sequences (the answers to one prompt). Stored flat: all lengths one behind another and
// where each sample begins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

namespace orrery::data {

class NestedLengths {
 public:
  NestedLengths() = default;
  /// {{8, 3}, {5}}: two samples, the first with two sequences.
  NestedLengths(std::initializer_list<std::initializer_list<int32_t>> samples);
  /// Samples of one sequence each.
  static NestedLengths of_single(std::span<const int32_t> lengths);
  /// As stored: `offsets` as returned by offsets(). Throws ShapeError when they do not fit.
  static NestedLengths from_flat(std::vector<int32_t> lengths, std::vector<int32_t> offsets);

  void reserve(std::size_t n_samples, std::size_t n_sequences);
  void add_sample(std::span<const int32_t> lengths);
  void add_sample(int32_t length) { add_sample({&length, 1}); }
  /// All samples of `other`, behind those here.
  void append(const NestedLengths& other);

  /// Number of samples.
  std::size_t size() const { return offsets_.size() - 1; }
  bool empty() const { return size() == 0; }
  /// Number of sequences of all samples.
  std::size_t n_sequences() const { return lengths_.size(); }

  std::span<const int32_t> of(std::size_t sample) const {
    const auto begin = static_cast<std::size_t>(offsets_[sample]);
    return {lengths_.data() + begin, static_cast<std::size_t>(offsets_[sample + 1]) - begin};
  }
  /// Sum of the lengths of one sample's sequences.
  int64_t total(std::size_t sample) const {
    int64_t sum = 0;
    for (const int32_t length : of(sample)) sum += length;
    return sum;
  }
  int64_t grand_total() const;

  /// Every length, samples one behind another.
  const std::vector<int32_t>& flat() const { return lengths_; }
  /// [size() + 1]: sample i owns flat()[offsets()[i] .. offsets()[i + 1]).
  const std::vector<int32_t>& offsets() const { return offsets_; }
  /// [size() + 1]: 0, total(0), total(0) + total(1), ...: where samples lie in the packed tensor.
  std::vector<int64_t> element_offsets() const;

  /// These samples in this order; an index may come twice.
  NestedLengths select(std::span<const int> indices) const;
  /// Samples [begin, end).
  NestedLengths slice(std::size_t begin, std::size_t end) const;

  bool operator==(const NestedLengths&) const = default;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(lengths_, offsets_);
  }

 private:
  std::vector<int32_t> lengths_;
  std::vector<int32_t> offsets_ = {0};  // counts of sequences, not of elements
};

}  // namespace orrery::data
