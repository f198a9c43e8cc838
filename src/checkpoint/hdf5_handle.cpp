#include "hdf5_handle.h"

#include <string_view>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::checkpoint {

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

herr_t append_description(unsigned, const H5E_error2_t* error, void* text) {
  auto& out = *static_cast<std::string*>(text);
  if (error->desc == nullptr || *error->desc == '\0') return 0;
  if (!out.empty()) out += " <- ";
  out += error->desc;
  return 0;
}

}  // namespace

LibraryLock::LibraryLock() : guard_(library_mutex()) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // per thread in some builds: set every time
}

std::string take_error_text() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, append_description, &text);
  H5Eclear2(H5E_DEFAULT);
  return text.empty() ? "no further reason given" : text;
}

void throw_hdf5_error(const std::string& where, const char* call) {
  const std::string_view text = call;
  throw CheckpointError(base::concat(where, ": HDF5 ", text.substr(0, text.find('(')), " failed"),
                        {.expected = "success",
                         .got = take_error_text(),
                         .advice = "orrery verify names the damaged files of a checkpoint"});
}

}  // namespace orrery::checkpoint
