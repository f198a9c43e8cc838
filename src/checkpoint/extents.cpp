#include "extents.h"

#include <algorithm>
#include <iterator>

namespace orrery::checkpoint {

void Extents::add(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  auto next = ranges_.upper_bound(begin);
  if (next != ranges_.begin() && std::prev(next)->second >= begin) {
    --next;
    begin = next->first;
    end = std::max(end, next->second);
    next = ranges_.erase(next);
  }
  while (next != ranges_.end() && next->first <= end) {
    end = std::max(end, next->second);
    next = ranges_.erase(next);
  }
  ranges_.emplace(begin, end);
}

void Extents::remove(uint64_t begin, uint64_t end) {
  if (begin >= end) return;
  auto next = ranges_.upper_bound(begin);
  if (next != ranges_.begin() && std::prev(next)->second > begin) --next;
  while (next != ranges_.end() && next->first < end) {
    const Extent old{next->first, next->second};
    next = ranges_.erase(next);
    if (old.begin < begin) ranges_.emplace(old.begin, begin);
    if (old.end > end) ranges_.emplace(end, old.end);
  }
}

std::vector<Extent> Extents::list() const {
  std::vector<Extent> list;
  list.reserve(ranges_.size());
  for (const auto& [begin, end] : ranges_) list.push_back({begin, end});
  return list;
}

}  // namespace orrery::checkpoint
