#include "node_gpus.h"

#include <algorithm>
#include <cctype>
#include <sstream>
#include <vector>

#include "orrery/base/file.h"  // exists
#include "orrery/base/system_file.h"

namespace orrery::cli {

namespace fs = std::filesystem;

int64_t gpus_on_bus(const fs::path& sysfs) {
  int64_t n = 0;
  for (const fs::path& device : base::system_folder(sysfs / "bus/pci/devices")) {
    const bool is_display = base::system_text(device / "class").starts_with("0x03");  // of any kind
    if (is_display && base::system_text(device / "vendor").starts_with("0x10de")) ++n;
  }
  return n;
}

int64_t gpus_of_driver(const fs::path& dev) {
  int64_t n = 0;
  while (base::exists(dev / ("nvidia" + std::to_string(n)))) ++n;
  return n;
}

std::string driver_release(const fs::path& proc) {
  std::istringstream text(base::system_text(proc / "driver/nvidia/version"));
  // The first word of digits with points between them: `x86_64` is none.
  for (std::string word; text >> word;) {
    const bool is_release = word.find('.') != std::string::npos &&
                            std::all_of(word.begin(), word.end(), [](unsigned char letter) {
                              return std::isdigit(letter) != 0 || letter == '.';
                            });
    if (is_release) return word;
  }
  return "";
}

int64_t mig_instances(const fs::path& proc) {
  int64_t n = 0;
  for (const fs::path& gpu : base::system_folder(proc / "driver/nvidia/capabilities")) {
    for (const fs::path& part : base::system_folder(gpu / "mig")) {
      if (part.filename().string().starts_with("gi")) ++n;
    }
  }
  return n;
}

}  // namespace orrery::cli
