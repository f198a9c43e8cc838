#include "orrery/worker/gpu_place.h"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "orrery/base/system_file.h"
#include "orrery/base/text.h"

namespace orrery::worker {

namespace fs = std::filesystem;

namespace {

std::optional<int> number_of(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

/// The folder of a device behind all links, which has the bridges above it in its path.
fs::path device_folder(const fs::path& link) {
  std::error_code failure;
  fs::path folder = fs::canonical(link, failure);
  return failure ? fs::path() : folder;
}

/// How near two devices are: 2 and more, the bridges that both are below; 1, their NUMA node; 0.
int nearness(const fs::path& gpu, const fs::path& adapter) {
  int n_bridges = -1;  // the first common PCI folder is the root complex, which is no bridge
  auto [a, b] = std::mismatch(gpu.begin(), gpu.end(), adapter.begin(), adapter.end());
  for (auto part = gpu.begin(); part != a; ++part) {
    const std::string name = part->string();
    if (name.starts_with("pci") || name.find(':') != std::string::npos) ++n_bridges;
  }
  if (n_bridges > 0) return 1 + n_bridges;
  const std::optional<int> node = number_of(base::system_text(gpu / "numa_node"));
  return node && node == number_of(base::system_text(adapter / "numa_node")) ? 1 : 0;
}

/// Adds the nearest of the adapters of a class of devices; those without hardware are none.
void find_adapters(const fs::path& devices, const fs::path& gpu, GpuPlace& place) {
  int best = -1;
  for (const fs::path& device : base::system_folder(devices)) {
    const fs::path folder = device_folder(device / "device");
    if (folder.empty()) continue;
    const int near = nearness(gpu, folder);
    if (near < best) continue;
    if (near > best) place.adapters.clear();
    best = near;
    place.adapters.push_back(device.filename().string());
  }
  if (best >= 0)
    place.adapter_link = best >= 2 ? "PCI switch" : best == 1 ? "NUMA node" : "machine";
}

}  // namespace

std::vector<int> cores_of_list(const std::string& list) {
  std::vector<int> cores;
  if (base::trim(list).empty()) return cores;
  for (const std::string& piece : base::split(std::string(base::trim(list)), ',')) {
    const std::vector<std::string> ends = base::split(piece, '-');
    const std::optional<int> first = number_of(ends.front());
    const std::optional<int> last = number_of(ends.back());
    if (ends.size() > 2 || !first || !last || *last < *first || *last >= CPU_SETSIZE) return {};
    for (int core = *first; core <= *last; ++core) cores.push_back(core);
  }
  std::sort(cores.begin(), cores.end());
  return cores;
}

std::string list_of_cores(std::span<const int> cores) {
  std::vector<std::string> pieces;
  for (size_t first = 0; first < cores.size();) {
    size_t end = first + 1;
    while (end < cores.size() && cores[end] == cores[end - 1] + 1) ++end;
    pieces.push_back(end - first == 1 ? std::to_string(cores[first])
                                      : base::concat(cores[first], "-", cores[end - 1]));
    first = end;
  }
  return base::join(pieces, ",");
}

GpuPlace find_gpu_place(const fs::path& sysfs, const std::string& pci_id) {
  GpuPlace place{.pci_id = pci_id, .cores = {}, .adapters = {}, .adapter_link = {}};
  const fs::path gpu = device_folder(sysfs / "bus/pci/devices" / pci_id);
  if (pci_id.empty() || gpu.empty()) return place;
  place.cores = cores_of_list(base::system_text(gpu / "local_cpulist"));
  find_adapters(sysfs / "class/infiniband", gpu, place);
  if (place.adapters.empty()) find_adapters(sysfs / "class/net", gpu, place);
  return place;
}

std::vector<int> cores_to_bind(std::span<const int> near, std::span<const int> allowed) {
  std::vector<int> both;
  std::set_intersection(near.begin(), near.end(), allowed.begin(), allowed.end(),
                        std::back_inserter(both));
  return both;
}

std::vector<int> allowed_cores() {
  std::vector<int> cores;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

Binding bind_near(const GpuPlace& place) {
  const std::vector<int> allowed = allowed_cores();
  const std::string left = base::concat("stays on cores ", list_of_cores(allowed), ": ");
  if (place.cores.empty()) {
    return {.text =
                base::concat(left, "the machine does not say which are near GPU ", place.pci_id)};
  }
  const std::vector<int> cores = cores_to_bind(place.cores, allowed);
  const std::string near = base::concat(list_of_cores(place.cores), " are near GPU ", place.pci_id);
  if (cores.empty()) {
    return {.text = base::concat(left, "cores ", near,
                                 ", and it may run on none of them: start ranks without binding "
                                 "(srun --cpu-bind=none, mpirun --bind-to none)")};
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(core, &set);
  if (::sched_setaffinity(0, sizeof(set), &set) != 0) {
    return {.text = base::concat(left, "cannot be bound: ", std::strerror(errno))};
  }
  return {.is_bound = true,
          .text = base::concat("bound to cores ", list_of_cores(cores), ": ", near)};
}

}  // namespace orrery::worker
