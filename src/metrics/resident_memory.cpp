#include "orrery/metrics/resident_memory.h"

#include <unistd.h>

#include <fstream>

namespace orrery::metrics {

int64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");  // pages: all, then those in memory
  int64_t all = 0, resident = 0;
  if (!(in >> all >> resident)) return 0;
  return resident * ::sysconf(_SC_PAGESIZE);
}

}  // namespace orrery::metrics
