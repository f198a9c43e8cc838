// What is in an HDF5 file, whoever wrote it: for people who look at files. Local.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace orrery::checkpoint {

struct Hdf5Dataset {
  std::string name;   ///< path within the file
  std::string dtype;  ///< as H5T classes go: int32, uint8, float64, string, other
  std::vector<int64_t> shape;
  int64_t stored_bytes = 0;  ///< in the file, after compression
};

struct Hdf5Contents {
  std::vector<Hdf5Dataset> datasets;              ///< by name
  std::map<std::string, std::string> attributes;  ///< of the root: numbers and texts
};

/// Whether the file begins as HDF5 files do.
bool is_hdf5(const std::filesystem::path& file);

/// Throws CheckpointError with HDF5's reason when it cannot be read.
Hdf5Contents list_hdf5(const std::filesystem::path& file);

}  // namespace orrery::checkpoint
