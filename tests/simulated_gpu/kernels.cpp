#include "kernels.h"

#include <map>

namespace orrery::simulated_gpu {

namespace {
std::map<std::string, Launcher>& offered() {
  static auto* const all = new std::map<std::string, Launcher>;
  return *all;
}
}  // namespace

void offer_kernel(const std::string& name, Launcher launcher) {
  offered()[name] = std::move(launcher);
}

const Launcher* find_kernel(const std::string& name) {
  const auto found = offered().find(name);
  return found == offered().end() ? nullptr : &found->second;
}

}  // namespace orrery::simulated_gpu
