#include "token_file.h"

#include <unistd.h>  // lseek

#include <algorithm>  // max, min
#include <array>
#include <cerrno>
#include <cstring>  // memcmp
#include <system_error>
#include <utility>  // move

#include "line_reader.h"  // open_data_file
#include "orrery/base/error.h"
#include "orrery/base/hdf5.h"
#include "orrery/base/text.h"

namespace orrery::data {

namespace {

using base::concat;

constexpr int64_t kVersion = 1;
constexpr int64_t kMaxTokens = int64_t{1} << 24;
constexpr char kSignature[] = "\x89HDF\r\n\x1a\n";

/// Bytes [offset, offset + count) of the file; false at its end.
bool read_at(const OpenFile& file, int64_t offset, int64_t count, char* out) {
  return file.file.read_at(offset, out, static_cast<std::size_t>(count)) == count;
}

/// Asks HDF5 about one file. What it needs of `path` stands in errors.
class Inspector {
 public:
  explicit Inspector(std::shared_ptr<const OpenFile> file) : file_(std::move(file)) {
    handle_ =
        base::Hdf5File(check(H5Fopen(path().c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), "the file"));
    const base::Hdf5Properties made(check(H5Fget_create_plist(handle_.get()), "the file"));
    hsize_t block = 0;
    check(H5Pget_userblock(made.get(), &block), "the file");
    if (block != 0) fail("a block of the user's in front", "none", concat(block, " bytes"));
  }

  [[noreturn]] void fail(const std::string& problem, const std::string& expected,
                         const std::string& got) const {
    throw_bad_token_file(path(), problem, expected, got);
  }

  /// `name` may be GROUP/NAME; a group that is not there has nothing.
  bool has(const std::string& name) const {
    const std::size_t slash = name.find('/');
    if (slash != std::string::npos && !has(name.substr(0, slash))) return false;
    return check(H5Lexists(handle_.get(), name.c_str(), H5P_DEFAULT), name) > 0;
  }

  std::string text(const char* object, const char* name) const {
    const base::Hdf5Attribute attribute = open_attribute(object, name);
    const base::Hdf5Type type(check(H5Aget_type(attribute.get()), name));
    const base::Hdf5Space space(check(H5Aget_space(attribute.get()), name));
    const bool is_text = H5Tget_class(type.get()) == H5T_STRING;
    if (!is_text || H5Sget_simple_extent_npoints(space.get()) != 1) {
      fail(concat("attribute ", name, " is no text"), "one text", is_text ? "several" : "numbers");
    }
    if (check(H5Tis_variable_str(type.get()), name) > 0) {
      char* value = nullptr;
      check(H5Aread(attribute.get(), type.get(), static_cast<void*>(&value)), name);
      std::string copy(value == nullptr ? "" : value);
      H5free_memory(value);
      return copy;
    }
    const std::size_t size = H5Tget_size(type.get());
    if (size == 0 || size > 65536) fail(concat("attribute ", name), "a short text", concat(size));
    std::string value(size, '\0');
    check(H5Aread(attribute.get(), type.get(), value.data()), name);
    return value.substr(0, value.find('\0'));
  }

  /// At most `most` of them.
  std::vector<int64_t> numbers(const char* object, const char* name, hssize_t most) const {
    const base::Hdf5Attribute attribute = open_attribute(object, name);
    const base::Hdf5Type type(check(H5Aget_type(attribute.get()), name));
    const base::Hdf5Space space(check(H5Aget_space(attribute.get()), name));
    const hssize_t count = H5Sget_simple_extent_npoints(space.get());
    if (H5Tget_class(type.get()) != H5T_INTEGER || count < 1 || count > most) {
      fail(concat("attribute ", name), concat("1 to ", most, " integers"),
           H5Tget_class(type.get()) == H5T_INTEGER ? concat(count) : "no integers");
    }
    std::vector<int64_t> values(static_cast<std::size_t>(count));
    check(H5Aread(attribute.get(), H5T_NATIVE_INT64, values.data()), name);
    return values;
  }
  int64_t number(const char* object, const char* name) const {
    return numbers(object, name, 1).front();
  }

  StoredArray array(const std::string& name, hid_t type, int64_t element_bytes) const {
    if (!has(name)) fail(concat("no data set ", name), "one", "none");
    const base::Hdf5Dataset dataset(
        check(H5Dopen2(handle_.get(), name.c_str(), H5P_DEFAULT), name));
    const base::Hdf5Space space(check(H5Dget_space(dataset.get()), name));
    const base::Hdf5Type stored(check(H5Dget_type(dataset.get()), name));
    if (H5Sget_simple_extent_ndims(space.get()) != 1) {
      fail(name, "a list of numbers", "another number of dimensions");
    }
    if (check(H5Tequal(stored.get(), type), name) == 0) {
      fail(concat("numbers of ", name), type_text(type), "another type");
    }
    hsize_t size = 0;
    check(H5Sget_simple_extent_dims(space.get(), &size, nullptr), name);
    if (size > static_cast<hsize_t>(file_->size_bytes / element_bytes)) {
      fail(concat(name, " is larger than its file"),
           concat("at most ", file_->size_bytes, " bytes"),
           concat(size, " elements of ", element_bytes));
    }
    const auto n = static_cast<int64_t>(size);
    const base::Hdf5Properties made(check(H5Dget_create_plist(dataset.get()), name));
    if (check(H5Pget_nfilters(made.get()), name) > 0 ||
        check(H5Pget_external_count(made.get()), name) > 0) {
      fail(concat(name, " is compressed or lies in another file"), "numbers as they are",
           "filters");
    }
    const H5D_layout_t layout = H5Pget_layout(made.get());
    if (layout == H5D_CHUNKED) return chunked(name, dataset.get(), made.get(), n, element_bytes);
    if (layout != H5D_CONTIGUOUS) {
      fail(concat("layout of ", name), "contiguous or chunked", "another one");
    }
    std::vector<int64_t> places;
    if (n > 0) places.push_back(place(H5Dget_offset(dataset.get()), n * element_bytes, name));
    return {file_, name, n, element_bytes, std::max<int64_t>(n, 1), std::move(places)};
  }

  StoredColumn column(const std::string& group, hid_t type, int64_t element_bytes,
                      int64_t n_entries) const {
    StoredColumn column{
        .values = array(concat(group, "/values"), type, element_bytes),
        .offsets = array(concat(group, "/offsets"), H5T_STD_I64LE, sizeof(int64_t))};
    if (column.size() != n_entries) {
      fail(concat(group, "/offsets"), concat(n_entries, " entries: ", n_entries + 1, " numbers"),
           concat(column.offsets.size(), " numbers"));
    }
    int64_t first = 0, last = 0;
    column.offsets.read<int64_t>(0, {&first, 1});
    column.offsets.read<int64_t>(n_entries, {&last, 1});
    if (first != 0 || last != column.values.size()) {
      fail(concat(group, "/offsets"), concat("from 0 to ", column.values.size()),
           concat(first, " to ", last));
    }
    return column;
  }

 private:
  const std::string& path() const { return file_->path; }

  StoredArray chunked(const std::string& name, hid_t dataset, hid_t made, int64_t n,
                      int64_t element_bytes) const {
    hsize_t elements = 0;
    check(H5Pget_chunk(made, 1, &elements), name);
    const auto chunk = static_cast<int64_t>(elements);
    std::vector<int64_t> places;
    for (int64_t first = 0; first < n; first += chunk) {
      const auto at = static_cast<hsize_t>(first);
      unsigned mask = 0;
      haddr_t address = HADDR_UNDEF;
      hsize_t bytes = 0;
      check(H5Dget_chunk_info_by_coord(dataset, &at, &mask, &address, &bytes), name);
      places.push_back(place(address, std::min(chunk, n - first) * element_bytes, name));
    }
    return {file_, name, n, element_bytes, chunk, std::move(places)};
  }

  template <class Status>
  Status check(Status status, const std::string& what) const {
    if (status >= 0) return status;
    base::Hdf5Failure failure = base::take_hdf5_failure();
    fail(concat(what, " cannot be read"), "a whole HDF5 file", failure.reason);
  }

  base::Hdf5Attribute open_attribute(const char* object, const char* name) const {
    // Lexists of a group first: a path whose first part is missing is an error to HDF5.
    const bool is_there = (std::string_view(object) == "/" || has(object)) &&
                          H5Aexists_by_name(handle_.get(), object, name, H5P_DEFAULT) > 0;
    if (!is_there) fail(concat("no attribute ", name), concat("one of ", object), "none");
    return base::Hdf5Attribute(
        check(H5Aopen_by_name(handle_.get(), object, name, H5P_DEFAULT, H5P_DEFAULT), name));
  }

  int64_t place(haddr_t address, int64_t bytes, const std::string& name) const {
    if (address == HADDR_UNDEF || address > static_cast<haddr_t>(file_->size_bytes) ||
        bytes > file_->size_bytes - static_cast<int64_t>(address)) {
      fail(concat("a part of ", name, " is not in the file"), "all of it", "less");
    }
    return static_cast<int64_t>(address);
  }

  static std::string type_text(hid_t type) {
    if (H5Tequal(type, H5T_STD_I32LE) > 0) return "int32, little-endian";
    return H5Tequal(type, H5T_STD_I64LE) > 0 ? "int64, little-endian" : "uint8";
  }

  std::shared_ptr<const OpenFile> file_;
  base::Hdf5File handle_;
};

int32_t special_token(const Inspector& file, int64_t id, const char* name, int64_t n_tokens) {
  if (id < 0 || id >= n_tokens) {
    file.fail(name, concat("an id below ", n_tokens), concat(id));
  }
  return static_cast<int32_t>(id);
}

/// HDF5's newest format of 1.10 has checksums in all that it reads here; older ones do not, and a
/// changed byte could lead the library astray (decision 0613).
void check_signature(const OpenFile& file) {
  char head[9] = {};
  if (!read_at(file, 0, sizeof(head), head) ||
      std::memcmp(head, kSignature, sizeof(kSignature) - 1) != 0) {
    throw_bad_token_file(file.path, "it is no HDF5 file", "HDF5", "other content");
  }
  if (head[8] < 2) {
    throw_bad_token_file(file.path, "it is in HDF5's oldest format, which has no checksums",
                         "the format of HDF5 1.10 (h5py: libver=('v110', 'v110'))",
                         concat("version ", static_cast<int>(head[8])));
  }
}

}  // namespace

void throw_bad_token_file(const std::string& path, const std::string& problem,
                          const std::string& expected, const std::string& got) {
  throw DataError(concat("pre-tokenized dataset ", path, ": ", problem),
                  {.expected = expected,
                   .got = got,
                   .advice = "make it with tools/tokenize.py, or again if it was cut off"});
}

StoredArray::StoredArray(std::shared_ptr<const OpenFile> file, std::string name, int64_t size,
                         int64_t element_bytes, int64_t chunk_size, std::vector<int64_t> chunks)
    : file_(std::move(file)),
      name_(std::move(name)),
      size_(size),
      element_bytes_(element_bytes),
      chunk_size_(chunk_size),
      chunks_(std::move(chunks)) {}

std::string StoredArray::place() const { return concat(file_->path, ": ", name_); }

void StoredArray::read_bytes(int64_t first, int64_t count, void* out) const {
  auto* to = static_cast<char*>(out);
  if (first < 0 || count < 0 || first > size_ || count > size_ - first) {
    throw_bad_token_file(file_->path, concat("offsets of ", name_), concat("0 to ", size_),
                         concat(first, " to ", first + count));
  }
  while (count > 0) {
    const int64_t inside = first % chunk_size_;
    const int64_t n = std::min(count, chunk_size_ - inside);
    const int64_t from =
        chunks_[static_cast<std::size_t>(first / chunk_size_)] + inside * element_bytes_;
    if (!read_at(*file_, from, n * element_bytes_, to)) {
      throw_bad_token_file(file_->path, concat(name_, " cannot be read any more"),
                           "the file that was there when the job started", "something else");
    }
    to += n * element_bytes_;
    first += n;
    count -= n;
  }
}

StoredColumn::Place StoredColumn::place_of(int64_t entry) const {
  std::array<int64_t, 2> ends = {};
  offsets.read<int64_t>(entry, ends);
  const int64_t count = ends[1] - ends[0];
  if (ends[0] < 0 || count < 0 || count > kMaxEntry) {
    throw DataError(concat("pre-tokenized dataset ", offsets.place(), ", entry ", entry + 1),
                    {.expected = "the file that was there when the job started",
                     .got = concat("from ", ends[0], " to ", ends[1]),
                     .advice = "do not change data files while a job runs"});
  }
  return {ends[0], count};
}

TokenFile TokenFile::open(const std::string& path) {
  const base::Hdf5Lock lock;
  auto opened = std::make_shared<OpenFile>();
  opened->path = path;
  opened->file = open_data_file(path);
  opened->size_bytes = ::lseek(opened->file.descriptor(), 0, SEEK_END);
  check_signature(*opened);
  TokenFile result;
  result.file = opened;
  const Inspector file(opened);

  const std::string format = file.text("/", "format");
  if (format != "orrery-tokens") file.fail("its attribute format", "orrery-tokens", format);
  const int64_t version = file.number("/", "version");
  if (version != kVersion) file.fail("its version", concat(kVersion), concat(version));
  const std::string kind = file.text("/", "kind");
  const auto known = config::dataset_kind_named(kind);
  if (!known || *known == config::DatasetKind::kLabelled) {
    file.fail("its attribute kind", "prompts, completions or preferences", kind);
  }
  result.kind = *known;
  result.source = file.text("/", "source");
  result.n_records = file.number("/", "n_records");
  if (result.n_records < 0 || result.n_records > opened->size_bytes) {
    file.fail("its attribute n_records", "a number of records", concat(result.n_records));
  }

  const auto tokens = [&](const char* group) {
    return file.column(group, H5T_STD_I32LE, sizeof(int32_t), result.n_records);
  };
  const auto text = [&](const char* group) -> std::optional<StoredColumn> {
    if (!file.has(group)) return std::nullopt;
    return file.column(group, H5T_STD_U8LE, 1, result.n_records);
  };
  result.prompt = tokens("prompt");
  if (result.kind == config::DatasetKind::kPrompts) {
    result.answer = text("answer");
    result.fields = text("fields");
  } else if (result.kind == config::DatasetKind::kCompletions) {
    result.completion = tokens("completion");
  } else {
    result.completion = tokens("chosen");
    result.rejected = tokens("rejected");
  }
  if (file.has("line")) {
    result.lines = file.array("line", H5T_STD_I64LE, sizeof(int64_t));
    if (result.lines->size() != result.n_records) {
      file.fail("line", concat(result.n_records, " numbers"), concat(result.lines->size()));
    }
  }

  result.special = file.array("vocabulary/special", H5T_STD_U8LE, 1);
  const int64_t n_tokens = result.special.size();
  if (n_tokens < 1 || n_tokens > kMaxTokens) {
    file.fail("vocabulary/special", concat("1 to ", kMaxTokens, " tokens"), concat(n_tokens));
  }
  result.table = file.column("vocabulary", H5T_STD_U8LE, 1, n_tokens);
  result.bos = special_token(file, file.number("vocabulary", "bos_id"), "bos_id", n_tokens);
  result.pad = special_token(file, file.number("vocabulary", "pad_id"), "pad_id", n_tokens);
  for (const int64_t id : file.numbers("vocabulary", "eos_ids", 1024)) {
    result.eos.push_back(special_token(file, id, "eos_ids", n_tokens));
  }
  return result;
}

std::unique_ptr<TokenTable> TokenFile::read_table() const {
  TokenTable::Parts parts;
  const auto n_tokens = static_cast<std::size_t>(special.size());
  parts.offsets.resize(n_tokens + 1);
  table.offsets.read<int64_t>(0, parts.offsets);
  for (std::size_t i = 0; i < n_tokens; ++i) {
    if (parts.offsets[i] > parts.offsets[i + 1] || parts.offsets[i] < 0) {
      throw_bad_token_file(file->path, "vocabulary/offsets", "numbers that do not fall",
                           concat(parts.offsets[i], " before ", parts.offsets[i + 1]));
    }
  }
  parts.bytes.resize(static_cast<std::size_t>(table.values.size()));
  table.values.read<char>(0, parts.bytes);
  std::vector<uint8_t> flags(n_tokens);
  special.read<uint8_t>(0, flags);
  parts.is_special.assign(flags.begin(), flags.end());
  parts.bos = bos;
  parts.eos = eos;
  parts.pad = pad;
  return std::make_unique<TokenTable>(std::move(parts), file->path);
}

}  // namespace orrery::data
