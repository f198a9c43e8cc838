#include "orrery/data/nested_lengths.h"

#include <numeric>  // accumulate, iota

#include "orrery/base/error.h"  // ShapeError
#include "orrery/base/text.h"   // concat

namespace orrery::data {

NestedLengths::NestedLengths(std::initializer_list<std::initializer_list<int32_t>> samples) {
  for (const std::initializer_list<int32_t>& sample : samples) {
    add_sample(std::span<const int32_t>(sample.begin(), sample.size()));
  }
}

NestedLengths NestedLengths::of_single(std::span<const int32_t> lengths) {
  NestedLengths result;
  result.lengths_.assign(lengths.begin(), lengths.end());
  result.offsets_.resize(lengths.size() + 1);
  std::iota(result.offsets_.begin(), result.offsets_.end(), 0);
  return result;
}

NestedLengths NestedLengths::from_flat(std::vector<int32_t> lengths, std::vector<int32_t> offsets) {
  bool fits = !offsets.empty() && offsets.front() == 0 &&
              static_cast<std::size_t>(offsets.back()) == lengths.size();
  for (std::size_t i = 1; fits && i < offsets.size(); ++i) fits = offsets[i - 1] <= offsets[i];
  if (!fits) {
    throw ShapeError(
        "nested lengths: offsets do not fit",
        {.expected = base::concat("ascending offsets from 0 to ", lengths.size()),
         .got = base::concat(
             offsets.size(), " offsets",
             offsets.empty() ? std::string() : base::concat(", the last ", offsets.back())),
         .advice = "pass what offsets() returned"});
  }
  NestedLengths result;
  result.lengths_ = std::move(lengths);
  result.offsets_ = std::move(offsets);
  return result;
}

void NestedLengths::reserve(std::size_t n_samples, std::size_t n_sequences) {
  offsets_.reserve(n_samples + 1);
  lengths_.reserve(n_sequences);
}

void NestedLengths::add_sample(std::span<const int32_t> lengths) {
  lengths_.insert(lengths_.end(), lengths.begin(), lengths.end());
  offsets_.push_back(static_cast<int32_t>(lengths_.size()));
}

void NestedLengths::append(const NestedLengths& other) {
  const int32_t shift = offsets_.back();
  const std::size_t n = other.size();  // first: `other` may be *this
  const std::size_t n_sequences = other.n_sequences();
  reserve(size() + n, lengths_.size() + n_sequences);
  for (std::size_t i = 0; i < n_sequences; ++i) lengths_.push_back(other.lengths_[i]);
  for (std::size_t i = 1; i <= n; ++i) offsets_.push_back(shift + other.offsets_[i]);
}

int64_t NestedLengths::grand_total() const {
  return std::accumulate(lengths_.begin(), lengths_.end(), int64_t{0});
}

std::vector<int64_t> NestedLengths::element_offsets() const {
  std::vector<int64_t> result(size() + 1, 0);
  for (std::size_t i = 0; i < size(); ++i) result[i + 1] = result[i] + total(i);
  return result;
}

NestedLengths NestedLengths::select(std::span<const int> indices) const {
  NestedLengths result;
  std::size_t n_sequences = 0;
  for (const int index : indices) n_sequences += of(static_cast<std::size_t>(index)).size();
  result.reserve(indices.size(), n_sequences);
  for (const int index : indices) result.add_sample(of(static_cast<std::size_t>(index)));
  return result;
}

NestedLengths NestedLengths::slice(std::size_t begin, std::size_t end) const {
  NestedLengths result;
  const int32_t shift = offsets_[begin];
  result.lengths_.assign(lengths_.begin() + shift, lengths_.begin() + offsets_[end]);
  result.offsets_.clear();
  result.offsets_.reserve(end - begin + 1);
  for (std::size_t i = begin; i <= end; ++i) result.offsets_.push_back(offsets_[i] - shift);
  return result;
}

}  // namespace orrery::data
