#include "node_gpus.h"

#include <algorithm>
#include <cctype>
#include <sstream>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/base/file.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMostBytes = 4096;

std::string text_of(const fs::path& file) {
  try {
    return base::exists(file) ? base::read_beginning(file, kMostBytes) : "";
  } catch (const Error&) {
    return "";
  }
}

std::vector<fs::path> content_of(const fs::path& folder) {
  try {
    return base::list_folder(folder);
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

int64_t gpus_on_bus(const fs::path& sysfs) {
  int64_t n = 0;
  for (const fs::path& device : content_of(sysfs / "bus/pci/devices")) {
    const bool is_display = text_of(device / "class").starts_with("0x03");  // of any kind
    if (is_display && text_of(device / "vendor").starts_with("0x10de")) ++n;
  }
  return n;
}

int64_t gpus_of_driver(const fs::path& dev) {
  int64_t n = 0;
  while (base::exists(dev / ("nvidia" + std::to_string(n)))) ++n;
  return n;
}

std::string driver_release(const fs::path& proc) {
  std::istringstream text(text_of(proc / "driver/nvidia/version"));
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
  for (const fs::path& gpu : content_of(proc / "driver/nvidia/capabilities")) {
    for (const fs::path& part : content_of(gpu / "mig")) {
      if (part.filename().string().starts_with("gi")) ++n;
    }
  }
  return n;
}

}  // namespace orrery::cli
