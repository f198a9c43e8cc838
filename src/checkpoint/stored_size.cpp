#include "stored_size.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <vector>

#include "hdf5_handle.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::checkpoint {

namespace {

[[noreturn]] void refuse(const std::string& where, const std::string& expected,
                         const std::string& got) {
  throw CheckpointError(
      base::concat(where, ": not as it was written"),
      {.expected = expected, .got = got, .advice = "the file is damaged; use another checkpoint"});
}

/// Whether zlib's bytes unpack to no more than `most`; what is no zlib HDF5 will say.
bool unpacks_within(const std::vector<unsigned char>& packed, uint64_t most) {
  z_stream stream = {};
  if (inflateInit(&stream) != Z_OK) return false;
  stream.next_in = const_cast<unsigned char*>(packed.data());
  stream.avail_in = static_cast<unsigned>(packed.size());
  std::vector<unsigned char> out(size_t{64} << 10);
  uint64_t unpacked = 0;
  int status = Z_OK;
  while (status == Z_OK && unpacked <= most) {
    stream.next_out = out.data();
    stream.avail_out = static_cast<unsigned>(out.size());
    status = inflate(&stream, Z_NO_FLUSH);
    unpacked += out.size() - stream.avail_out;
  }
  inflateEnd(&stream);
  return unpacked <= most;
}

}  // namespace

size_t believable_size(hid_t dataset, uint64_t n_elements, int64_t element, uint64_t file_size,
                       const std::string& where) {
  // zlib makes at most 1,032 bytes out of one.
  constexpr uint64_t kMostOfOne = 1100;
  const PropertiesHandle layout(ORRERY_HDF5(where, H5Dget_create_plist(dataset)));
  if (ORRERY_HDF5(where, H5Pget_external_count(layout.get())) > 0) {
    refuse(where, "numbers in this file", "numbers in another one");
  }
  const uint64_t most = ORRERY_HDF5(where, H5Pget_nfilters(layout.get())) > 0 ? kMostOfOne : 1;
  const uint64_t stored = std::min<uint64_t>(H5Dget_storage_size(dataset), file_size);
  const auto bytes_each = static_cast<uint64_t>(element);
  if (n_elements > stored * most / bytes_each) {
    throw CheckpointError(
        base::concat(where, ": larger than its file"),
        {.expected = base::concat("at most ", base::counted(stored * most, "byte")),
         .got = base::concat(base::counted(n_elements, "element"), " of ",
                             base::counted(element, "byte")),
         .advice = "the file is damaged; use another checkpoint"});
  }
  return n_elements * bytes_each;
}

void check_chunks(hid_t dataset, const std::string& where) {
  const PropertiesHandle made(ORRERY_HDF5(where, H5Dget_create_plist(dataset)));
  if (H5Pget_layout(made.get()) != H5D_CHUNKED) return;
  const int n_filters = ORRERY_HDF5(where, H5Pget_nfilters(made.get()));
  for (int i = 0; i < n_filters; ++i) {
    unsigned flags = 0, of_config = 0;
    size_t n_values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(made.get(), static_cast<unsigned>(i), &flags,
                                               &n_values, nullptr, 0, nullptr, &of_config);
    if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE) {
      refuse(where, "zlib and shuffling as the only filters", base::concat("filter ", filter));
    }
  }
  const TypeHandle type(ORRERY_HDF5(where, H5Dget_type(dataset)));
  std::array<hsize_t, H5S_MAX_RANK> dims{};
  const int n_dims =
      ORRERY_HDF5(where, H5Pget_chunk(made.get(), static_cast<int>(dims.size()), dims.data()));
  uint64_t chunk_bytes = H5Tget_size(type.get());
  for (int i = 0; i < n_dims; ++i) {
    if (__builtin_mul_overflow(chunk_bytes, dims[base::index(i)], &chunk_bytes) ||
        chunk_bytes > kChunkBytes) {
      refuse(where, base::concat("chunks of at most ", base::bytes_text(kChunkBytes)),
             "larger ones");
    }
  }
  if (n_filters == 0) return;
  // What cannot be packed becomes a little longer.
  const uint64_t longest = chunk_bytes + chunk_bytes / 100 + 1024;
  const SpaceHandle space(ORRERY_HDF5(where, H5Dget_space(dataset)));
  hsize_t n_chunks = 0;
  ORRERY_HDF5(where, H5Dget_num_chunks(dataset, space.get(), &n_chunks));
  std::vector<unsigned char> packed;
  for (hsize_t i = 0; i < n_chunks; ++i) {
    std::array<hsize_t, H5S_MAX_RANK> at{};
    unsigned mask = 0;
    haddr_t address = HADDR_UNDEF;
    hsize_t size = 0;
    ORRERY_HDF5(where,
                H5Dget_chunk_info(dataset, space.get(), i, at.data(), &mask, &address, &size));
    if (size > longest) {
      refuse(where, base::concat("chunks of at most ", longest, " bytes in the file"),
             base::concat(size));
    }
    packed.resize(size);
    uint32_t filters_left_out = 0;
    ORRERY_HDF5(where,
                H5Dread_chunk(dataset, H5P_DEFAULT, at.data(), &filters_left_out, packed.data()));
    if (filters_left_out == 0 && !unpacks_within(packed, chunk_bytes)) {
      refuse(where, base::concat("a chunk of ", chunk_bytes, " bytes"), "one that unpacks to more");
    }
  }
}

}  // namespace orrery::checkpoint
