#include "orrery/base/hdf5.h"

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "orrery/base/text.h"

namespace orrery::base {

namespace {

// Of the library, not of Orrery: HDF5 itself has one global state per process.
std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

// At exit HDF5 closes what is open, and after a close that failed (a full disk) it follows a
// pointer to nothing: the process would die by a signal instead of ending with its exit code. Every
// handle here closes itself, so there is nothing to be done at exit; it must be said before HDF5
// starts.
[[maybe_unused]] const herr_t no_work_at_exit = H5dont_atexit();

herr_t append_description(unsigned, const H5E_error2_t* error, void* texts) {
  if (error->desc == nullptr || *error->desc == '\0') return 0;
  static_cast<std::vector<std::string>*>(texts)->emplace_back(error->desc);
  return 0;
}

/// The operating system's reason in a text of HDF5's, among addresses and sizes.
std::optional<std::string> system_reason(const std::string& text) {
  constexpr std::string_view kBefore = "error message = '";
  const size_t begin = text.find(kBefore);
  if (begin == std::string::npos) return std::nullopt;
  const size_t end = text.find('\'', begin + kBefore.size());
  return text.substr(begin + kBefore.size(), end - begin - kBefore.size());
}

}  // namespace

Hdf5Lock::Hdf5Lock() : guard_(library_mutex()) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // per thread in some builds: set every time
}

Hdf5Failure take_hdf5_failure() {
  std::vector<std::string> texts;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, append_description, &texts);
  H5Eclear2(H5E_DEFAULT);
  for (const std::string& text : texts) {
    if (auto reason = system_reason(text)) return {std::move(*reason), true};
  }
  if (texts.empty()) return {"no further reason given"};
  // A dozen levels of "failed because" end in the one that says something.
  return {texts.size() == 1 ? texts[0] : concat(texts.front(), ": ", texts.back())};
}

}  // namespace orrery::base
