// What a dataset of a shard file may grow to when it is read. The manifest warrants the size of the
// file; what lies in it compressed must be of our making: numbers of chunks as large as ours, each
// no longer, unpacked, than its chunk. HDF5 itself unpacks a chunk to whatever comes. Only .cpp
// files of this folder include it; the caller holds the lock.
#pragma once

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace orrery::checkpoint {

inline constexpr uint64_t kChunkBytes = uint64_t{4} << 20;  // as we write them

/// What a dataset says that it holds, in bytes, if its file can hold that: reading allocates as
/// much. Throws CheckpointError.
size_t believable_size(hid_t dataset, uint64_t n_elements, int64_t element, uint64_t file_size,
                       const std::string& where);

/// Throws CheckpointError when a dataset has other filters than ours, or a chunk that is larger
/// than ours or unpacks to more than it is. Reads what is compressed once, in pieces.
void check_chunks(hid_t dataset, const std::string& where);

}  // namespace orrery::checkpoint
