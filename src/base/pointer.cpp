#include "orrery/base/pointer.h"

#include <system_error>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"

namespace orrery::base {

namespace fs = std::filesystem;

namespace {

void check(const std::error_code& error, const fs::path& pointer, const char* what) {
  if (error) throw OutputError(concat(pointer.string(), ": ", what, ": ", error.message()));
}

void put_copy_aside(const fs::path& pointer) {
  if (is_link(pointer) || !base::exists(pointer)) return;
  const fs::path aside = free_name(pointer, ".copy");
  std::error_code error;
  fs::rename(pointer, aside, error);
  check(error, pointer, "is no link and cannot be renamed");
  log_warning(concat(pointer.string(), " is no link, as where a run was copied with its links ",
                     "followed: it is kept as ", aside.filename().string()));
}

}  // namespace

void point(const fs::path& pointer, const fs::path& target) {
  put_copy_aside(pointer);
  const fs::path fresh = pointer.string() + ".new";
  std::error_code error;
  fs::remove(fresh, error);
  fs::create_directory_symlink(target.filename(), fresh, error);
  if (!error) fs::rename(fresh, pointer, error);
  check(error, pointer, "cannot be made a link");
}

void remove_pointer(const fs::path& pointer) {
  put_copy_aside(pointer);
  std::error_code error;
  fs::remove(pointer, error);
  check(error, pointer, "cannot be removed");
}

}  // namespace orrery::base
