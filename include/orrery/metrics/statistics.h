// Numbers about training that can be merged in any order and over any number of ranks: every one
// carries its denominator, so the mean of means is never taken. Plain values without tensors; they
// travel in replies (cereal) and end up in metrics.jsonl. Any rank; an object belongs to one
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace orrery::metrics {

/// One number in a form that merges.
struct Statistic {
  enum Kind : uint8_t {
    kMean,       ///< sum / weight over elements
    kSum,        ///< sum over elements
    kMin,        ///< smallest element
    kMax,        ///< largest element
    kScalar,     ///< mean over records: each record counts once, whatever it was made of
    kDeviation,  ///< standard deviation of the elements, as of a whole population
  };
  Kind kind = kMean;
  double sum = 0;      ///< kMin, kMax: the extreme so far
  double weight = 0;   ///< number (or weight) of elements; kScalar: of records. 0: no value
  double squares = 0;  ///< kDeviation: sum of the squared distances from the mean

  /// Adds another statistic of the same kind. Throws CallError when the kinds differ.
  void merge(const Statistic& other);
  /// Whether any element went in.
  bool has_value() const { return weight > 0; }
  /// The number to log; NaN when there is no element.
  double value() const;

  bool operator==(const Statistic&) const = default;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(kind, sum, weight, squares);
  }
};

/// Statistics by name, in order of the names. Example: {"loss": mean 3.2 / 2, "n_tokens": sum 2}.
class Statistics {
 public:
  using Map = std::map<std::string, Statistic, std::less<>>;

  /// Each of these merges with what is there under the name. Throws CallError when that is of
  /// another kind.
  void add(std::string_view name, const Statistic& statistic);
  /// `sum` of elements whose weights add up to `weight`; nothing happens at weight 0.
  void mean(std::string_view name, double sum, double weight);
  /// A count or another sum; 0 is a value too.
  void sum(std::string_view name, double value);
  void min(std::string_view name, double value);
  void max(std::string_view name, double value);
  /// One record of a number that is the same for all its elements (a learning rate).
  void scalar(std::string_view name, double value);
  /// One element of a standard deviation.
  void deviation(std::string_view name, double value);

  /// Merges all of `other`, names that only one side has included.
  void merge(const Statistics& other);
  /// The same under `prefix` + name.
  Statistics with_prefix(std::string_view prefix) const;

  const Statistic* find(std::string_view name) const;
  /// Value under the name, or nothing when it is absent or has no element.
  std::optional<double> value(std::string_view name) const;
  /// All that have a value.
  std::map<std::string, double> values() const;

  bool empty() const { return items_.empty(); }
  size_t size() const { return items_.size(); }
  Map::const_iterator begin() const { return items_.begin(); }
  Map::const_iterator end() const { return items_.end(); }

  bool operator==(const Statistics&) const = default;

  /// Include cereal/types/map.hpp and cereal/types/string.hpp where this is instantiated.
  template <class Archive>
  void serialize(Archive& archive) {
    archive(items_);
  }

 private:
  Map items_;
};

}  // namespace orrery::metrics
