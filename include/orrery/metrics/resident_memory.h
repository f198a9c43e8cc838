// Memory of this process as the system counts it. Local; any thread.
#pragma once

#include <cstdint>

namespace orrery::metrics {

/// Bytes that are in memory now, libraries included; 0 where the system does not tell.
int64_t resident_bytes();

}  // namespace orrery::metrics
