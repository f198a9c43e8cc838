#include "bpe_merges.h"

#include <algorithm>  // min_element
#include <array>
#include <bit>  // bit_ceil
#include <queue>

namespace orrery::data {

namespace {

/// Up to here a scan over the ranks beats a heap.
constexpr std::size_t kShort = 48;

uint64_t pair_of(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

}  // namespace

BpeMerges::BpeMerges(std::size_t expected) : slots_(std::bit_ceil(2 * expected + 2)) {}

std::size_t BpeMerges::slot_of(uint64_t pair) const {
  uint64_t hash = pair * 0x9e3779b97f4a7c15ULL;
  hash ^= hash >> 32;
  std::size_t at = hash & (slots_.size() - 1);
  while (slots_[at].pair != pair && slots_[at].pair != kEmpty) at = (at + 1) & (slots_.size() - 1);
  return at;
}

void BpeMerges::add(int32_t left, int32_t right, int32_t merged) {
  const uint64_t pair = pair_of(left, right);
  slots_[slot_of(pair)] = {.pair = pair, .merge = {.rank = n_added_++, .merged = merged}};
}

BpeMerges::Merge BpeMerges::find(int32_t left, int32_t right) const {
  return slots_[slot_of(pair_of(left, right))].merge;
}

void BpeMerges::apply(std::vector<int32_t>& symbols) const {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShort) {
    apply_short(symbols);
  } else {
    apply_long(symbols);
  }
}

void BpeMerges::apply_short(std::vector<int32_t>& symbols) const {
  std::array<Merge, kShort> merges;  // [i]: of symbols i and i + 1
  std::size_t n = symbols.size();
  for (std::size_t i = 0; i + 1 < n; ++i) merges[i] = find(symbols[i], symbols[i + 1]);
  while (n > 1) {
    const auto* const begin = merges.data();
    const auto* best = std::min_element(
        begin, begin + n - 1, [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    if (best->rank == kNone) break;
    const auto at = static_cast<std::size_t>(best - begin);
    symbols[at] = best->merged;
    for (std::size_t i = at + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      merges[i] = merges[i + 1];
    }
    --n;
    if (at > 0) merges[at - 1] = find(symbols[at - 1], symbols[at]);
    if (at + 1 < n) merges[at] = find(symbols[at], symbols[at + 1]);
  }
  symbols.resize(n);
}

void BpeMerges::apply_long(std::vector<int32_t>& symbols) const {
  struct Candidate {
    int32_t rank;
    uint32_t at;
    uint32_t right;       // where its right half is: entries of other neighbours are stale
    int32_t left_symbol;  // and so are those of other symbols
    int32_t right_symbol;
    int32_t merged;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  constexpr uint32_t kEnd = UINT32_MAX;
  constexpr int32_t kGone = -1;
  const auto n = static_cast<uint32_t>(symbols.size());
  std::vector<uint32_t> next(n);
  std::vector<uint32_t> previous(n);
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](uint32_t left, uint32_t right) {
    const Merge merge = find(symbols[left], symbols[right]);
    if (merge.rank == kNone) return;
    queue.push({merge.rank, left, right, symbols[left], symbols[right], merge.merged});
  };
  for (uint32_t i = 0; i < n; ++i) {
    next[i] = i + 1 < n ? i + 1 : kEnd;
    previous[i] = i > 0 ? i - 1 : kEnd;
    if (i + 1 < n) offer(i, i + 1);
  }
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    if (symbols[best.at] != best.left_symbol || next[best.at] != best.right ||
        symbols[best.right] != best.right_symbol) {
      continue;
    }
    symbols[best.at] = best.merged;
    symbols[best.right] = kGone;
    next[best.at] = next[best.right];
    if (next[best.at] != kEnd) {
      previous[next[best.at]] = best.at;
      offer(best.at, next[best.at]);
    }
    if (previous[best.at] != kEnd) offer(previous[best.at], best.at);
  }
  std::erase(symbols, kGone);
}

}  // namespace orrery::data
