// HDF5 as the rest of this folder uses it: handles that close themselves, and one checked call.
// Only .cpp files of this folder include it.
//
// HDF5 is one global state. DESIGN lets one thread of a process call it; a LibraryLock makes the
// exception (two jobs in one process, as in tests) wait instead of corrupting memory.
#pragma once

#include <hdf5.h>

#include <mutex>
#include <string>

#include "orrery/base/unique_handle.h"

namespace orrery::checkpoint {

/// Held around all HDF5 calls of a public function; also keeps HDF5 from printing its errors.
class LibraryLock {
 public:
  LibraryLock();

 private:
  std::lock_guard<std::recursive_mutex> guard_;
};

template <herr_t (*kClose)(hid_t)>
struct HidTraits {
  using Raw = hid_t;
  static Raw none() { return H5I_INVALID_HID; }
  static void close(Raw raw) noexcept { kClose(raw); }
};
using FileHandle = base::UniqueHandle<HidTraits<H5Fclose>>;
using DatasetHandle = base::UniqueHandle<HidTraits<H5Dclose>>;
using SpaceHandle = base::UniqueHandle<HidTraits<H5Sclose>>;
using TypeHandle = base::UniqueHandle<HidTraits<H5Tclose>>;
using PropertiesHandle = base::UniqueHandle<HidTraits<H5Pclose>>;
using AttributeHandle = base::UniqueHandle<HidTraits<H5Aclose>>;
using GroupHandle = base::UniqueHandle<HidTraits<H5Gclose>>;
using DriverHandle = base::UniqueHandle<HidTraits<H5FDunregister>>;

/// Throws CheckpointError: `where`: `call` failed, with the operating system's reason if there is
/// one, or else HDF5's first and last. Clears HDF5's errors of this thread.
[[noreturn]] void throw_hdf5_error(const std::string& where, const char* call);

/// `status` unless it is negative, which is how every HDF5 function says that it failed.
template <class Status>
Status check_hdf5(Status status, const std::string& where, const char* call) {
  if (status < 0) throw_hdf5_error(where, call);
  return status;
}

/// `where` (file and dataset) is only evaluated on its way to the function: keep it at hand.
#define ORRERY_HDF5(where, call) ::orrery::checkpoint::check_hdf5((call), (where), #call)

}  // namespace orrery::checkpoint
