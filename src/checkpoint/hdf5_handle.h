// HDF5 as the rest of this folder uses it: the handles of base/hdf5.h, and one checked call whose
// failure is a CheckpointError. Only .cpp files of this folder include it.
#pragma once

#include <string>

#include "orrery/base/hdf5.h"

namespace orrery::checkpoint {

using LibraryLock = base::Hdf5Lock;
using FileHandle = base::Hdf5File;
using DatasetHandle = base::Hdf5Dataset;
using SpaceHandle = base::Hdf5Space;
using TypeHandle = base::Hdf5Type;
using PropertiesHandle = base::Hdf5Properties;
using AttributeHandle = base::Hdf5Attribute;
using GroupHandle = base::Hdf5Group;
using DriverHandle = base::Hdf5Driver;

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
