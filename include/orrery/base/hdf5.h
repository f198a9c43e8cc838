// HDF5 as all folders use it: handles that close themselves, one lock, and the reason of a failure
// in words. What a failure means (a damaged checkpoint, a data file of the user's) each folder
// says.
//
// HDF5 is one global state. One thread of a process calls it; an Hdf5Lock makes the
// exceptions (the thread that writes a checkpoint, two jobs in one process in tests) wait instead
// of corrupting memory.
#pragma once

#include <hdf5.h>

#include <mutex>
#include <string>

#include "orrery/base/unique_handle.h"

namespace orrery::base {

/// Held around all HDF5 calls of a public function; also keeps HDF5 from printing its errors.
class Hdf5Lock {
 public:
  Hdf5Lock();

 private:
  std::lock_guard<std::recursive_mutex> guard_;
};

template <herr_t (*kClose)(hid_t)>
struct HidTraits {
  using Raw = hid_t;
  static Raw none() { return H5I_INVALID_HID; }
  static void close(Raw raw) noexcept { kClose(raw); }
};
using Hdf5File = UniqueHandle<HidTraits<H5Fclose>>;
using Hdf5Dataset = UniqueHandle<HidTraits<H5Dclose>>;
using Hdf5Space = UniqueHandle<HidTraits<H5Sclose>>;
using Hdf5Type = UniqueHandle<HidTraits<H5Tclose>>;
using Hdf5Properties = UniqueHandle<HidTraits<H5Pclose>>;
using Hdf5Attribute = UniqueHandle<HidTraits<H5Aclose>>;
using Hdf5Group = UniqueHandle<HidTraits<H5Gclose>>;
using Hdf5Driver = UniqueHandle<HidTraits<H5FDunregister>>;

/// Why HDF5's last call on this thread failed.
struct Hdf5Failure {
  std::string reason;  ///< the operating system's, if there is one; else HDF5's first and last
  bool is_of_system = false;  ///< a full disk, say, and not what the file holds
};

/// Takes it from HDF5, which forgets it.
Hdf5Failure take_hdf5_failure();

}  // namespace orrery::base
