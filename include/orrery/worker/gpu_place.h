// Where a GPU sits in its machine: the cores and the network adapter that are near it, as sysfs
// tells, and a worker's binding to these cores.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace orrery::worker {

struct GpuPlace {
  std::string pci_id;      ///< `0000:3b:00.0`
  std::vector<int> cores;  ///< near it, ascending; empty: sysfs does not say
  /// The nearest network adapters, all that are equally near: those for RDMA where there is one.
  /// NCCL chooses by itself; this is to compare with what it says.
  std::vector<std::string> adapters;
  std::string adapter_link;  ///< `PCI switch`, `NUMA node` or `machine`: what it shares with them
};

/// `0-2,8` -> 0, 1, 2, 8; nothing of a text that is no list of cores. Pure.
std::vector<int> cores_of_list(const std::string& list);

/// 0, 1, 2, 8 -> `0-2,8`. Of ascending cores. Pure.
std::string list_of_cores(std::span<const int> cores);

/// What is missing below `sysfs` (`/sys`) or cannot be read is left empty.
GpuPlace find_gpu_place(const std::filesystem::path& sysfs, const std::string& pci_id);

/// The cores to bind to: those of `near` that are in `allowed`. Pure.
std::vector<int> cores_to_bind(std::span<const int> near, std::span<const int> allowed);

/// Cores that the calling thread may run on.
std::vector<int> allowed_cores();

/// What came of a binding: the sentence for the log.
struct Binding {
  bool is_bound = false;
  std::string text;
};

/// Binds the calling thread, and those that it starts from now on, to the cores near its GPU that
/// it may run on. Where there is none, or sysfs does not tell, all stays as it is.
Binding bind_near(const GpuPlace& place);

}  // namespace orrery::worker
