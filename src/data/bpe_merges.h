// Byte pair encoding of one piece of text: of all neighbouring pairs the one whose merge was
// learned first is merged, the leftmost of equal ones, until no pair can be merged. Any thread.
#pragma once

#include <cstdint>
#include <vector>

namespace orrery::data {

class BpeMerges {
 public:
  /// Merges are given in the order in which they were learned; `expected` sizes the table.
  explicit BpeMerges(std::size_t expected);

  /// `left` and `right` side by side become `merged`. A pair given twice counts as the later one.
  void add(int32_t left, int32_t right, int32_t merged);

  /// Merges in place. Cost: n squared for short pieces, n log n for long ones.
  void apply(std::vector<int32_t>& symbols) const;

 private:
  struct Merge {
    int32_t rank = kNone;
    int32_t merged = 0;
  };
  struct Slot {
    uint64_t pair = kEmpty;
    Merge merge;
  };
  static constexpr int32_t kNone = INT32_MAX;
  static constexpr uint64_t kEmpty = UINT64_MAX;  // ids are not negative: no pair is this

  Merge find(int32_t left, int32_t right) const;
  std::size_t slot_of(uint64_t pair) const;
  void apply_short(std::vector<int32_t>& symbols) const;
  void apply_long(std::vector<int32_t>& symbols) const;

  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
  int32_t n_added_ = 0;
};

}  // namespace orrery::data
