#include "orrery/checkpoint/shard_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "digest.h"
#include "hdf5_handle.h"
#include "orrery/base/error.h"
#include "orrery/base/fault.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "stored_size.h"

namespace orrery::checkpoint {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kPiece = kChunkBytes;
constexpr uint64_t kReadPiece = uint64_t{1} << 18;  // of a read for the hash: stays in the cache

/// Groups on the way to a name are made as needed.
PropertiesHandle with_groups(const std::string& where) {
  PropertiesHandle properties(ORRERY_HDF5(where, H5Pcreate(H5P_LINK_CREATE)));
  ORRERY_HDF5(where, H5Pset_create_intermediate_group(properties.get(), 1));
  return properties;
}

hid_t stored_type(data::DType dtype) {
  switch (dtype) {
    case data::DType::kBool:
    case data::DType::kU8:
      return H5T_STD_U8LE;
    case data::DType::kBf16:
    case data::DType::kF16:
      return H5T_STD_U16LE;  // their bits: HDF5 has no such numbers
    case data::DType::kI32:
      return H5T_STD_I32LE;
    case data::DType::kI64:
      return H5T_STD_I64LE;
    case data::DType::kF32:
      return H5T_IEEE_F32LE;
    case data::DType::kF64:
      return H5T_IEEE_F64LE;
  }
  return H5I_INVALID_HID;
}

void write_number(hid_t object, const char* name, int64_t value, const std::string& where) {
  const SpaceHandle scalar(ORRERY_HDF5(where, H5Screate(H5S_SCALAR)));
  const AttributeHandle attribute(ORRERY_HDF5(
      where, H5Acreate2(object, name, H5T_STD_I64LE, scalar.get(), H5P_DEFAULT, H5P_DEFAULT)));
  ORRERY_HDF5(where, H5Awrite(attribute.get(), H5T_NATIVE_INT64, &value));
}

/// Hashes are text: 64 bits without a sign are no number for every reader.
void write_text(hid_t object, const char* name, const std::string& value,
                const std::string& where) {
  const SpaceHandle scalar(ORRERY_HDF5(where, H5Screate(H5S_SCALAR)));
  const TypeHandle type(ORRERY_HDF5(where, H5Tcopy(H5T_C_S1)));
  ORRERY_HDF5(where, H5Tset_size(type.get(), std::max<size_t>(value.size(), 1)));
  const AttributeHandle attribute(ORRERY_HDF5(
      where, H5Acreate2(object, name, type.get(), scalar.get(), H5P_DEFAULT, H5P_DEFAULT)));
  ORRERY_HDF5(where, H5Awrite(attribute.get(), type.get(), value.c_str()));
}

int64_t read_number(hid_t object, const char* name, const std::string& where) {
  const AttributeHandle attribute(ORRERY_HDF5(where, H5Aopen(object, name, H5P_DEFAULT)));
  int64_t value = 0;
  ORRERY_HDF5(where, H5Aread(attribute.get(), H5T_NATIVE_INT64, &value));
  return value;
}

std::string read_text(hid_t object, const char* name, const std::string& where) {
  const AttributeHandle attribute(ORRERY_HDF5(where, H5Aopen(object, name, H5P_DEFAULT)));
  const TypeHandle type(ORRERY_HDF5(where, H5Aget_type(attribute.get())));
  const size_t size = H5Tget_size(type.get());
  if (H5Tget_class(type.get()) != H5T_STRING || H5Tis_variable_str(type.get()) != 0 || size == 0 ||
      size > 256) {
    throw CheckpointError(base::concat(where, ": attribute ", name, " is no short text"));
  }
  std::string value(size, '\0');
  ORRERY_HDF5(where, H5Aread(attribute.get(), type.get(), value.data()));
  return value.substr(0, value.find('\0'));
}

std::array<hsize_t, 2> chunk_of(const Slab& slab) {
  const auto element = static_cast<uint64_t>(data::size_bytes(slab.dtype));
  const auto columns = std::min<uint64_t>(static_cast<uint64_t>(slab.n_columns), kPiece / element);
  const auto rows =
      std::clamp<uint64_t>(kPiece / (columns * element), 1, static_cast<uint64_t>(slab.n_rows));
  return {rows, columns};
}

std::string path_of(const Slab& slab) {
  return base::concat("/slabs/", slab.name, "@", slab.first_row, ",", slab.first_column);
}

/// HDF5 keeps small datasets until they are closed: only here it tells that one could not be
/// written. The destructor of a handle would pass over it.
void close_written(DatasetHandle dataset, const std::string& where) {
  ORRERY_HDF5(where, H5Dclose(dataset.release()));
}

/// Elements of a matrix; more than any file holds where the product would not fit.
uint64_t product(const std::array<hsize_t, 2>& extents) {
  uint64_t n = 0;
  return __builtin_mul_overflow(extents[0], extents[1], &n) ? UINT64_MAX : n;
}

/// No damage: nothing was looked at.
[[noreturn]] void throw_errno(const fs::path& file, const char* what, int error) {
  throw OutputError(
      base::concat(file.string(), ": ", what, ": ", std::generic_category().message(error)));
}

/// Before it is opened: that of a pipe waits for a writer.
void refuse_special(const fs::path& file) {
  if (const std::string kind = base::special_kind(file); !kind.empty()) {
    throw CheckpointError(base::concat(file.string(), ": cannot be read"),
                          {.expected = "a regular file", .got = kind, .advice = ""});
  }
}

/// HDF5's own, for hints to the system.
std::optional<int> descriptor_of(hid_t file) {
  void* descriptor = nullptr;
  if (H5Fget_vfd_handle(file, H5P_DEFAULT, &descriptor) < 0) return std::nullopt;
  return *static_cast<const int*>(descriptor);
}

/// What the file has so far goes to the disk while more is added. Only a hint: fsync decides.
void begin_writing_out(int descriptor) {
  ::sync_file_range(descriptor, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/// Twice the read-ahead. To ask for ranges of a file (WILLNEED) made it slower.
void expect_reading_in_order(int descriptor) {
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL);
}

/// Names of the links below `group`, with their groups, in order of their names.
herr_t collect_dataset(hid_t, const char* name, const H5O_info_t* info, void* names) {
  if (info->type == H5O_TYPE_DATASET)
    static_cast<std::vector<std::string>*>(names)->push_back(name);
  return 0;
}

std::vector<std::string> datasets_below(hid_t file, const char* group, const std::string& where) {
  std::vector<std::string> names;
  if (ORRERY_HDF5(where, H5Lexists(file, group, H5P_DEFAULT)) == 0) return names;
  const GroupHandle handle(ORRERY_HDF5(where, H5Gopen2(file, group, H5P_DEFAULT)));
  ORRERY_HDF5(where, H5Ovisit2(handle.get(), H5_INDEX_NAME, H5_ITER_INC, collect_dataset, &names,
                               H5O_INFO_BASIC));
  return names;
}

/// Size and hash of what a file has from here on. Four threads that read ahead of it were
/// slower, at least beside other work (docs/performance.md).
FileRecord record_of(const fs::path& file, const base::PosixFile& opened) {
  FileRecord record{.name = file.filename().string()};
  Digest digest;
  std::vector<char> piece(kReadPiece);
  expect_reading_in_order(opened.descriptor());
  while (true) {
    const int64_t got = opened.read(piece.data(), piece.size());
    if (got < 0) throw_errno(file, "cannot be read", errno);
    if (got == 0) break;
    digest.add(piece.data(), static_cast<uint64_t>(got));
    record.size += static_cast<uint64_t>(got);
  }
  record.hash = digest.value();
  return record;
}

}  // namespace

FileRecord record_of(const fs::path& file) {
  refuse_special(file);
  const base::PosixFile opened = base::PosixFile::open_to_read(file);
  if (!opened) throw_errno(file, "cannot be opened", errno);
  return record_of(file, opened);
}

struct ShardWriter::State {
  fs::path path;
  Compression compression = Compression::kNone;
  FileHandle file;
  bool is_finished = false;
};

ShardWriter::ShardWriter(fs::path file, Compression compression)
    : state_(std::make_unique<State>()) {
  const LibraryLock lock;
  state_->path = std::move(file);
  state_->compression = compression;
  const std::string where = state_->path.string();
  const PropertiesHandle access(ORRERY_HDF5(where, H5Pcreate(H5P_FILE_ACCESS)));
  ORRERY_HDF5(where, H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG));
  // This format has a checksum in every piece of metadata: damage is an error of HDF5's own, also
  // for a file that is opened without its manifest, and not a crash.
  ORRERY_HDF5(where, H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110));
  const hid_t made = H5Fcreate(where.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get());
  if (made < 0) {
    std::error_code ignored;
    fs::remove(state_->path, ignored);  // a disk that is full has room for its name
  }
  state_->file = FileHandle(check_hdf5(made, where, "H5Fcreate"));
}

ShardWriter::~ShardWriter() {
  if (state_->is_finished) return;
  const LibraryLock lock;
  state_->file = FileHandle();
  std::error_code ignored;
  fs::remove(state_->path, ignored);
}

void ShardWriter::add(const Slab& slab, const void* data) {
  if (slab.numel() == 0) return;
  const LibraryLock lock;
  base::fault_point("checkpoint.data");
  const std::string path = path_of(slab);
  const std::string where = base::concat(state_->path.string(), ":", path);
  const std::array<hsize_t, 2> extents = {static_cast<hsize_t>(slab.n_rows),
                                          static_cast<hsize_t>(slab.n_columns)};
  const std::array<hsize_t, 2> chunk = chunk_of(slab);
  const PropertiesHandle layout(ORRERY_HDF5(where, H5Pcreate(H5P_DATASET_CREATE)));
  ORRERY_HDF5(where, H5Pset_chunk(layout.get(), 2, chunk.data()));
  ORRERY_HDF5(where, H5Pset_fill_time(layout.get(), H5D_FILL_TIME_NEVER));
  if (state_->compression == Compression::kDeflate) {
    ORRERY_HDF5(where, H5Pset_shuffle(layout.get()));
    ORRERY_HDF5(where, H5Pset_deflate(layout.get(), 1));
  }
  const SpaceHandle space(ORRERY_HDF5(where, H5Screate_simple(2, extents.data(), nullptr)));
  const hid_t type = stored_type(slab.dtype);
  DatasetHandle dataset(
      ORRERY_HDF5(where, H5Dcreate2(state_->file.get(), path.c_str(), type, space.get(),
                                    with_groups(where).get(), layout.get(), H5P_DEFAULT)));
  ORRERY_HDF5(where, H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data));
  if (const auto descriptor = descriptor_of(state_->file.get())) begin_writing_out(*descriptor);
  write_number(dataset.get(), "rows", slab.rows, where);
  write_number(dataset.get(), "columns", slab.columns, where);
  write_number(dataset.get(), "first_row", slab.first_row, where);
  write_number(dataset.get(), "first_column", slab.first_column, where);
  write_text(dataset.get(), "dtype", std::string(data::name(slab.dtype)), where);
  write_text(dataset.get(), "xxh3",
             digest_text(digest_of(data, static_cast<uint64_t>(slab.size_bytes()))), where);
  close_written(std::move(dataset), where);
}

void ShardWriter::add_blob(const std::string& name, std::string_view bytes) {
  const LibraryLock lock;
  const std::string path = "/blobs/" + name;
  const std::string where = base::concat(state_->path.string(), ":", path);
  const hsize_t extent = bytes.size();
  const SpaceHandle space(ORRERY_HDF5(where, H5Screate_simple(1, &extent, nullptr)));
  DatasetHandle dataset(
      ORRERY_HDF5(where, H5Dcreate2(state_->file.get(), path.c_str(), H5T_STD_U8LE, space.get(),
                                    with_groups(where).get(), H5P_DEFAULT, H5P_DEFAULT)));
  if (!bytes.empty()) {
    ORRERY_HDF5(where,
                H5Dwrite(dataset.get(), H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()));
  }
  write_text(dataset.get(), "xxh3", digest_text(digest_of(bytes.data(), bytes.size())), where);
  close_written(std::move(dataset), where);
}

FileRecord ShardWriter::finish() {
  const std::string where = state_->path.string();
  {
    const LibraryLock lock;
    ORRERY_HDF5(where, H5Fflush(state_->file.get(), H5F_SCOPE_GLOBAL));
    ORRERY_HDF5(where, H5Fclose(state_->file.release()));
  }
  base::fault_point("checkpoint.sync");
  const base::PosixFile opened = base::PosixFile::open_to_read(state_->path);
  if (!opened) throw_errno(state_->path, "cannot be opened", errno);
  begin_writing_out(opened.descriptor());
  // From memory, while the disk works.
  const FileRecord record = record_of(state_->path, opened);
  if (!opened.sync()) throw_errno(state_->path, "cannot be synced", errno);
  state_->is_finished = true;
  return record;
}

struct ShardReader::State {
  fs::path path;
  uint64_t size = 0;  // of the file
  FileHandle file;
  std::vector<Slab> slabs;
  std::vector<std::string> paths;         // of the slabs
  std::vector<bool> are_chunks_checked;   // before the first reading of a slab
  std::vector<bool> are_numbers_checked;  // at the first reading: they have their hash

  std::string where(const std::string& object) const {
    return base::concat(path.string(), ":", object);
  }
  DatasetHandle open(const std::string& object) const {
    return DatasetHandle(
        ORRERY_HDF5(where(object), H5Dopen2(file.get(), object.c_str(), H5P_DEFAULT)));
  }
  Slab slab_at(const std::string& object, std::string name) const;
  void read(size_t index, const Part& part, void* out, int64_t out_columns);
  /// Reads all of a slab and compares it with its hash.
  void check(size_t index);
  void check(size_t index, uint64_t digest);
};

Slab ShardReader::State::slab_at(const std::string& object, std::string name) const {
  const std::string text = where(object);
  const DatasetHandle dataset = open(object);
  const SpaceHandle space(ORRERY_HDF5(text, H5Dget_space(dataset.get())));
  std::array<hsize_t, 2> extents{};
  if (H5Sget_simple_extent_ndims(space.get()) != 2) {
    throw CheckpointError(base::concat(text, ": not a matrix"));
  }
  ORRERY_HDF5(text, H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr));
  const auto dtype = data::parse_dtype(read_text(dataset.get(), "dtype", text));
  if (!dtype) throw CheckpointError(base::concat(text, ": unknown type of elements"));
  believable_size(dataset.get(), product(extents), data::size_bytes(*dtype), size, text);
  Slab slab{.name = std::move(name),
            .dtype = *dtype,
            .rows = read_number(dataset.get(), "rows", text),
            .columns = read_number(dataset.get(), "columns", text),
            .first_row = read_number(dataset.get(), "first_row", text),
            .first_column = read_number(dataset.get(), "first_column", text),
            .n_rows = static_cast<int64_t>(extents[0]),
            .n_columns = static_cast<int64_t>(extents[1])};
  if (slab.first_row < 0 || slab.first_column < 0 || slab.n_rows > slab.rows - slab.first_row ||
      slab.n_columns > slab.columns - slab.first_column) {
    throw CheckpointError(base::concat(text, ": outside of its matrix"));
  }
  return slab;
}

ShardReader::ShardReader(fs::path file) : state_(std::make_unique<State>()) {
  const LibraryLock lock;
  state_->path = std::move(file);
  refuse_special(state_->path);
  const std::string where = state_->path.string();
  state_->size = base::file_size(state_->path);
  const PropertiesHandle access(ORRERY_HDF5(where, H5Pcreate(H5P_FILE_ACCESS)));
  ORRERY_HDF5(where, H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG));
  state_->file =
      FileHandle(ORRERY_HDF5(where, H5Fopen(where.c_str(), H5F_ACC_RDONLY, access.get())));
  if (const auto descriptor = descriptor_of(state_->file.get()))
    expect_reading_in_order(*descriptor);
  for (const std::string& found : datasets_below(state_->file.get(), "/slabs", where)) {
    const std::string object = "/slabs/" + found;
    state_->slabs.push_back(state_->slab_at(object, found.substr(0, found.rfind('@'))));
    state_->paths.push_back(object);
    state_->are_chunks_checked.push_back(false);
    state_->are_numbers_checked.push_back(false);
  }
}

ShardReader::~ShardReader() {
  if (state_ == nullptr) return;
  const LibraryLock lock;
  state_->file = FileHandle();
}
ShardReader::ShardReader(ShardReader&&) noexcept = default;
ShardReader& ShardReader::operator=(ShardReader&&) noexcept = default;

const std::vector<Slab>& ShardReader::slabs() const { return state_->slabs; }

std::vector<std::string> ShardReader::blobs() const {
  const LibraryLock lock;
  return datasets_below(state_->file.get(), "/blobs", state_->path.string());
}

std::string ShardReader::blob(const std::string& name) const {
  const LibraryLock lock;
  const std::string object = "/blobs/" + name;
  const std::string where = state_->where(object);
  const DatasetHandle dataset = state_->open(object);
  check_chunks(dataset.get(), where);
  const SpaceHandle space(ORRERY_HDF5(where, H5Dget_space(dataset.get())));
  const hssize_t n_bytes = ORRERY_HDF5(where, H5Sget_simple_extent_npoints(space.get()));
  std::string bytes(
      believable_size(dataset.get(), static_cast<uint64_t>(n_bytes), 1, state_->size, where), '\0');
  if (n_bytes > 0) {
    ORRERY_HDF5(where,
                H5Dread(dataset.get(), H5T_STD_U8LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()));
  }
  if (digest_text(digest_of(bytes.data(), bytes.size())) !=
      read_text(dataset.get(), "xxh3", where)) {
    throw CheckpointError(base::concat(where, ": the bytes are not those that were written"));
  }
  return bytes;
}

void ShardReader::State::read(size_t index, const Part& part, void* out, int64_t out_columns) {
  const Slab& slab = slabs[index];
  const std::string where = this->where(paths[index]);
  const DatasetHandle dataset = open(paths[index]);
  if (!are_chunks_checked[index]) check_chunks(dataset.get(), where);
  are_chunks_checked[index] = true;
  const SpaceHandle file_space(ORRERY_HDF5(where, H5Dget_space(dataset.get())));
  const std::array<hsize_t, 2> start = {
      static_cast<hsize_t>(part.first_row - slab.first_row),
      static_cast<hsize_t>(part.first_column - slab.first_column)};
  const std::array<hsize_t, 2> count = {static_cast<hsize_t>(part.n_rows),
                                        static_cast<hsize_t>(part.n_columns)};
  ORRERY_HDF5(where, H5Sselect_hyperslab(file_space.get(), H5S_SELECT_SET, start.data(), nullptr,
                                         count.data(), nullptr));
  // `out` holds no more than its last element: a last row need not have its full width.
  const std::array<hsize_t, 2> memory = {count[0], static_cast<hsize_t>(out_columns)};
  const SpaceHandle memory_space(ORRERY_HDF5(where, H5Screate_simple(2, memory.data(), nullptr)));
  constexpr std::array<hsize_t, 2> kOrigin = {0, 0};
  ORRERY_HDF5(where, H5Sselect_hyperslab(memory_space.get(), H5S_SELECT_SET, kOrigin.data(),
                                         nullptr, count.data(), nullptr));
  ORRERY_HDF5(where, H5Dread(dataset.get(), stored_type(slab.dtype), memory_space.get(),
                             file_space.get(), H5P_DEFAULT, out));
}

void ShardReader::State::check(size_t index) {
  const Slab& slab = slabs[index];
  // In pieces of whole rows: a slab of zeros is a thousand times its size in the file.
  const int64_t row_bytes = slab.n_columns * data::size_bytes(slab.dtype);
  const int64_t most_rows =
      std::clamp<int64_t>(static_cast<int64_t>(kPiece) * 16 / std::max<int64_t>(row_bytes, 1), 1,
                          std::max<int64_t>(slab.n_rows, 1));
  std::vector<char> bytes(static_cast<size_t>(most_rows * row_bytes));
  Digest digest;
  for (int64_t row = 0; row_bytes > 0 && row < slab.n_rows; row += most_rows) {
    const int64_t n_rows = std::min(most_rows, slab.n_rows - row);
    read(index,
         {.first_row = slab.first_row + row,
          .first_column = slab.first_column,
          .n_rows = n_rows,
          .n_columns = slab.n_columns},
         bytes.data(), slab.n_columns);
    digest.add(bytes.data(), static_cast<uint64_t>(n_rows * row_bytes));
  }
  check(index, digest.value());
}

void ShardReader::State::check(size_t index, uint64_t digest) {
  const std::string where = this->where(paths[index]);
  const std::string written = read_text(open(paths[index]).get(), "xxh3", where);
  if (digest_text(digest) != written) {
    throw CheckpointError(base::concat(where, ": the numbers are not those that were written"),
                          {.expected = base::concat("numbers with the hash ", written),
                           .got = digest_text(digest),
                           .advice = "use another checkpoint"});
  }
  are_numbers_checked[index] = true;
}

void ShardReader::read(size_t index, const Part& part, void* out, int64_t out_columns) const {
  const LibraryLock lock;
  const Slab& slab = state_->slabs.at(index);
  ORRERY_ASSERT(part.first_row >= slab.first_row && part.first_column >= slab.first_column &&
                    part.first_row + part.n_rows <= slab.first_row + slab.n_rows &&
                    part.first_column + part.n_columns <= slab.first_column + slab.n_columns,
                "a part outside of its slab");
  if (part.n_rows == 0 || part.n_columns == 0) return;
  const bool is_whole = part.n_rows == slab.n_rows && part.n_columns == slab.n_columns &&
                        out_columns == slab.n_columns;
  if (!is_whole && !state_->are_numbers_checked[index]) state_->check(index);
  state_->read(index, part, out, out_columns);
  if (is_whole) state_->check(index, digest_of(out, static_cast<uint64_t>(slab.size_bytes())));
}

void ShardReader::read_rows(size_t index, int64_t max_rows, const TakeRows& take) const {
  const Slab& slab = state_->slabs.at(index);
  const int64_t row_bytes = slab.n_columns * data::size_bytes(slab.dtype);
  Digest digest;
  for (int64_t row = 0; row < slab.n_rows; row += max_rows) {
    const int64_t n_rows = std::min(max_rows, slab.n_rows - row);
    take(row, n_rows, [&](void* out) {
      const LibraryLock lock;
      state_->read(index,
                   {.first_row = slab.first_row + row,
                    .first_column = slab.first_column,
                    .n_rows = n_rows,
                    .n_columns = slab.n_columns},
                   out, slab.n_columns);
      digest.add(out, static_cast<uint64_t>(n_rows * row_bytes));
    });
  }
  const LibraryLock lock;
  state_->check(index, digest.value());
}

void ShardReader::verify() const {
  const LibraryLock lock;
  for (size_t i = 0; i < state_->slabs.size(); ++i) state_->check(i);
  for (const std::string& name : blobs()) blob(name);
}

}  // namespace orrery::checkpoint
