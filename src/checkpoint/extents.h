// Which bytes of a file hold tensor data: a set of disjoint ranges, merged where they touch. The
// rest is HDF5's metadata, which the seal covers (seal.h).
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace orrery::checkpoint {

struct Extent {
  uint64_t begin = 0;
  uint64_t end = 0;
};

class Extents {
 public:
  void add(uint64_t begin, uint64_t end);
  void remove(uint64_t begin, uint64_t end);
  /// Ascending, disjoint, not touching.
  std::vector<Extent> list() const;

 private:
  std::map<uint64_t, uint64_t> ranges_;  // begin -> end
};

}  // namespace orrery::checkpoint
