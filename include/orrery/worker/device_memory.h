// What a worker's GPU holds, as LibTorch's allocator and the device count it; nothing here waits
// for the device.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>
#include <vector>

#include "orrery/comm/message.h"  // MemoryRecord

namespace orrery::worker {

/// The memory of one operation: its peaks begin where this is made. Of CPUs nothing is measured.
class DeviceMemory {
 public:
  explicit DeviceMemory(c10::Device device);

  /// Appends the record of the operation so far.
  void add_to(std::vector<comm::MemoryRecord>& records, const std::string& name) const;

 private:
  c10::Device device_;
};

/// The most that tensors took since the last DeviceMemory of the device was made; 0: not measured.
int64_t peak_bytes(c10::Device device);

}  // namespace orrery::worker
