// What a node tells of its GPUs without CUDA, so that also a GPU that CUDA does not show is
// counted. What is missing or cannot be read counts as none.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace orrery::cli {

/// NVIDIA's, with or without a driver. `sysfs`: /sys.
int64_t gpus_on_bus(const std::filesystem::path& sysfs);

/// Those that the driver has made a device file for. `dev`: /dev.
int64_t gpus_of_driver(const std::filesystem::path& dev);

/// `580.65.06`; empty: no driver. `proc`: /proc.
std::string driver_release(const std::filesystem::path& proc);

/// Parts that MIG cuts the GPUs into.
int64_t mig_instances(const std::filesystem::path& proc);

}  // namespace orrery::cli
