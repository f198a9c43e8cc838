#include "orrery/base/system_file.h"

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"

namespace orrery::base {

std::string system_text(const std::filesystem::path& file) {
  constexpr size_t kMostBytes = 4096;
  try {
    return std::string(trim(read_beginning(file, kMostBytes)));
  } catch (const Error&) {
    return "";
  }
}

std::vector<std::filesystem::path> system_folder(const std::filesystem::path& folder) {
  try {
    return list_folder(folder);
  } catch (const Error&) {
    return {};
  }
}

}  // namespace orrery::base
