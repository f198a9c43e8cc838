#include "orrery/worker/device_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>  // max

namespace orrery::worker {

namespace {

/// Null: of a CPU, or nothing was allocated on a GPU yet.
c10::DeviceAllocator* allocator_of(c10::Device device) {
  if (device.is_cpu()) return nullptr;
  c10::DeviceAllocator* const allocator = c10::getDeviceAllocator(device.type());
  return allocator->initialized() ? allocator : nullptr;
}

const c10::CachingAllocator::Stat& all_of(const c10::CachingAllocator::StatArray& stats) {
  return stats[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
}

}  // namespace

DeviceMemory::DeviceMemory(c10::Device device) : device_(device) {
  if (auto* const allocator = allocator_of(device)) allocator->resetPeakStats(device.index());
}

int64_t peak_bytes(c10::Device device) {
  auto* const allocator = allocator_of(device);
  if (allocator == nullptr) return 0;
  return all_of(allocator->getDeviceStats(device.index()).allocated_bytes).peak;
}

void DeviceMemory::add_to(std::vector<comm::MemoryRecord>& records, const std::string& name) const {
  auto* const allocator = allocator_of(device_);
  if (allocator == nullptr) return;
  const auto stats = allocator->getDeviceStats(device_.index());
  const auto [n_free, n_all] = allocator->getMemoryInfo(device_.index());
  const int64_t in_use = static_cast<int64_t>(n_all) - static_cast<int64_t>(n_free);
  records.push_back(
      {.name = name,
       .peak_bytes = all_of(stats.allocated_bytes).peak,
       .reserved_bytes = all_of(stats.reserved_bytes).peak,
       .other_bytes = std::max<int64_t>(in_use - all_of(stats.reserved_bytes).current, 0)});
}

}  // namespace orrery::worker
