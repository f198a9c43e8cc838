#include "orrery/config/path_advice.h"

#include <algorithm>
#include <cctype>

#include "orrery/base/text.h"

namespace orrery::config {

namespace {

/// `org/model`: two names and nothing that only a path has.
bool is_hub_name(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash + 1 == text.size()) return false;
  const auto is_part = [](std::string_view part) {
    return part.front() != '.' && std::all_of(part.begin(), part.end(), [](unsigned char c) {
             return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
           });
  };
  return is_part(text.substr(0, slash)) && is_part(text.substr(slash + 1));
}

/// Endings that a file has and no name on the hub.
bool has_file_ending(std::string_view text) {
  for (const char* ending : {".jsonl", ".json", ".h5", ".hdf5", ".txt", ".csv", ".parquet", ".cfg",
                             ".safetensors", ".gz", ".zst"}) {
    if (text.ends_with(ending)) return true;
  }
  return false;
}

}  // namespace

std::string path_advice(std::string_view written) {
  if (const size_t scheme = written.find("://"); scheme != std::string_view::npos) {
    return base::concat("; nothing is fetched from ", written.substr(0, scheme + 3),
                        " addresses: copy it to a disk that all nodes see, and name that path");
  }
  if (written.starts_with("~")) {
    return "; ~ is not replaced in a configuration file: write the whole path";
  }
  if (written.find('$') != std::string_view::npos) {
    return "; variables are not replaced in a configuration file: write the path, or give it with "
           "--set, where the shell replaces them";
  }
  if (!is_hub_name(written) || has_file_ending(written)) return {};
  return base::concat("; if ", written,
                      " is a name on the Hugging Face hub: nothing is downloaded here. Fetch it "
                      "first (hf download ",
                      written, " --local-dir DIR) and name DIR");
}

}  // namespace orrery::config
