#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <sys/mman.h>  // mmap
#include <sys/stat.h>  // fstat

#include <algorithm>  // max, sort
#include <cerrno>
#include <cstring>  // memcpy, strerror
#include <set>
#include <type_traits>  // is_same
#include <vector>

#include "dispatch.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"  // PosixFile
#include "orrery/base/json.h"
#include "orrery/base/text.h"
#include "orrery/model/safetensors.h"

namespace orrery::model {
namespace {

using nlohmann::json;

/// The format's own limit; a length beyond it is damage.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what,
                       const std::string& expected, const std::string& got) {
  throw CheckpointError(
      base::concat(path.string(), ": ", what),
      {.expected = expected, .got = got, .advice = "copy or download the file again"});
}

int64_t element_size(const std::string& dtype) {
  static const std::map<std::string, int64_t> sizes = {
      {"F64", 8},  {"I64", 8}, {"U64", 8}, {"F32", 4}, {"I32", 4}, {"U32", 4}, {"F16", 2},
      {"BF16", 2}, {"I16", 2}, {"U16", 2}, {"I8", 1},  {"U8", 1},  {"BOOL", 1}};
  const auto it = sizes.find(dtype);
  return it == sizes.end() ? 0 : it->second;
}

/// The product of a shape; -1 when a dim is negative or the product passes 2^62.
int64_t numel_of(const std::vector<int64_t>& shape) {
  int64_t numel = 1;
  for (const int64_t n : shape) {
    if (n < 0) return -1;
    if (__builtin_mul_overflow(numel, n, &numel) || numel > (int64_t{1} << 58)) return -1;
  }
  return numel;
}

bool is_offset(const json& value) {
  return value.is_number_unsigned() || (value.is_number_integer() && value.get<int64_t>() >= 0);
}

StoredTensor parse_tensor(const std::filesystem::path& path, const std::string& name,
                          const json& entry) {
  const auto bad = [&](const std::string& field, const std::string& expected) {
    fail(path, base::concat("tensor ", name, ": ", field), expected, entry.dump().substr(0, 200));
  };
  if (!entry.is_object()) bad("header entry", "an object");
  if (!entry.contains("dtype") || !entry["dtype"].is_string()) bad("dtype", "a string");
  if (!entry.contains("shape") || !entry["shape"].is_array()) bad("shape", "a list");
  if (!entry.contains("data_offsets") || !entry["data_offsets"].is_array() ||
      entry["data_offsets"].size() != 2 || !is_offset(entry["data_offsets"][0]) ||
      !is_offset(entry["data_offsets"][1])) {
    bad("data_offsets", "two integers from 0 up");
  }
  StoredTensor tensor;
  tensor.dtype = entry["dtype"].get<std::string>();
  if (element_size(tensor.dtype) == 0) bad("dtype", "a dtype of the safetensors format");
  for (const json& n : entry["shape"]) {
    if (!is_offset(n)) bad("shape", "integers from 0 up");
    tensor.shape.push_back(n.get<int64_t>());
  }
  tensor.begin = entry["data_offsets"][0].get<int64_t>();
  tensor.end = entry["data_offsets"][1].get<int64_t>();
  const int64_t numel = numel_of(tensor.shape);
  if (numel < 0 || tensor.begin < 0 || tensor.end < tensor.begin ||
      tensor.end - tensor.begin != numel * element_size(tensor.dtype)) {
    bad("shape and data_offsets", base::concat("as many bytes as the shape has of ", tensor.dtype));
  }
  return tensor;
}

/// Refuses a second entry of one name, which the parser would silently prefer.
json parse_header(const std::filesystem::path& path, std::string_view text) {
  std::vector<std::set<std::string>> keys;
  std::string repeated;
  const auto watch = [&](int /*depth*/, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key &&
        !keys.back().insert(parsed.get<std::string>()).second) {
      repeated = parsed.get<std::string>();
    }
    return true;
  };
  auto [header, problem] = base::parse_json(text, watch);
  if (!header.is_object()) {
    fail(path, "header", "a JSON object",
         problem.empty() ? base::concat(base::counted(text.size(), "byte"), " of something else")
                         : problem);
  }
  if (!repeated.empty()) fail(path, "header", "each name once", base::concat(repeated, " twice"));
  return std::move(header);
}

/// The data must be covered exactly: no overlap, no gap, no rest.
void check_coverage(const std::filesystem::path& path,
                    const std::map<std::string, StoredTensor>& tensors, int64_t data_size) {
  std::vector<std::pair<const StoredTensor*, const std::string*>> in_order;
  for (const auto& [name, tensor] : tensors) in_order.emplace_back(&tensor, &name);
  std::sort(in_order.begin(), in_order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first->begin, a.first->end) < std::pair(b.first->begin, b.first->end);
  });
  int64_t at = 0;
  for (const auto& [tensor, name] : in_order) {
    if (tensor->begin != at) {
      fail(path, base::concat("tensor ", *name, tensor->begin < at ? " overlaps" : " leaves a gap"),
           base::concat("data from byte ", at), base::concat("data from byte ", tensor->begin));
    }
    at = tensor->end;
  }
  if (at != data_size) {
    fail(path, at > data_size ? "the file is truncated" : "bytes after the last tensor",
         base::concat(base::counted(at, "byte"), " of data"), base::concat(data_size));
  }
}

/// Also bf16, as parameters are read into that are computed with on a GPU.
template <class Work>
void with_stored_type(at::ScalarType dtype, const Work& work) {
  if (dtype == at::kBFloat16) return work.template operator()<c10::BFloat16>();
  with_type(dtype, work);
}

template <class From, class To>
void convert(const std::byte* from, To* to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    From value;
    std::memcpy(&value, from + i * static_cast<int64_t>(sizeof(From)), sizeof(From));
    to[i] = static_cast<To>(value);
  }
}

}  // namespace

/// Numbers of another type are converted a block at a time.
constexpr int64_t kBlockBytes = 1 << 20;

struct SafetensorsFile::Mapping {
  std::filesystem::path path;
  base::PosixFile file;
  const std::byte* address = nullptr;
  size_t size = 0;
  const std::byte* data = nullptr;
  std::map<std::string, StoredTensor> tensors;

  ~Mapping() {
    if (address != nullptr) ::munmap(const_cast<std::byte*>(address), size);
  }

  /// Copies bytes of the file, from `from` of the mapping on. Not through the mapping: its pages
  /// would count as this process's memory, and each fault costs more than the copy of its page.
  void read(const std::byte* from, void* to, int64_t n) const {
    const int64_t got = file.read_at(from - address, to, static_cast<size_t>(n));
    if (got == n) return;
    fail(path, "cannot be read", base::counted(n - std::max<int64_t>(got, 0), "more byte"),
         got < 0 ? std::strerror(errno) : "the end of the file");
  }

  /// The same of `n` numbers of a tensor that begins at `tensor`, from number `first` on.
  template <class Stored, class T>
  void read_numbers(const std::byte* tensor, int64_t first, int64_t n, T* to,
                    std::vector<std::byte>& block) const {
    constexpr auto kSize = static_cast<int64_t>(sizeof(Stored));
    const std::byte* const from = tensor + first * kSize;
    if (std::is_same_v<Stored, T>) return read(from, to, n * kSize);
    constexpr int64_t kMost = kBlockBytes / kSize;
    block.resize(static_cast<size_t>(std::min(kMost, n) * kSize));
    for (int64_t i = 0; i < n; i += kMost) {
      const int64_t some = std::min(kMost, n - i);
      read(from + i * kSize, block.data(), some * kSize);
      convert<Stored>(block.data(), to + i, some);
    }
  }
};

SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : mapping_(std::make_unique<Mapping>()) {
  mapping_->path = path;
  // Before it is opened: that of a pipe waits for a writer.
  if (const std::string kind = base::special_kind(path); !kind.empty()) {
    fail(path, "cannot be opened", "a safetensors file", kind);
  }
  mapping_->file = base::PosixFile::open_to_read(path);
  const base::PosixFile& file = mapping_->file;
  struct stat status = {};
  if (!file || ::fstat(file.descriptor(), &status) != 0 || !S_ISREG(status.st_mode)) {
    fail(path, "cannot be opened", "a safetensors file",
         file ? "no regular file" : std::strerror(errno));
  }
  mapping_->size = static_cast<size_t>(status.st_size);
  if (mapping_->size < 8) {
    fail(path, "the file is truncated", "at least 8 bytes", base::concat(mapping_->size));
  }
  void* address = ::mmap(nullptr, mapping_->size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (address == MAP_FAILED) fail(path, "cannot be mapped", "a mapping", std::strerror(errno));
  mapping_->address = static_cast<const std::byte*>(address);

  uint64_t header_size = 0;
  std::memcpy(&header_size, mapping_->address, sizeof header_size);
  if (header_size > kMaxHeaderBytes || header_size > mapping_->size - 8) {
    fail(path, "header length", base::concat("at most ", base::counted(mapping_->size - 8, "byte")),
         base::concat(header_size));
  }
  mapping_->data = mapping_->address + 8 + header_size;
  const json header =
      parse_header(path, {reinterpret_cast<const char*>(mapping_->address + 8), header_size});
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    mapping_->tensors.emplace(name, parse_tensor(path, name, entry));
  }
  check_coverage(path, mapping_->tensors, static_cast<int64_t>(mapping_->size - 8 - header_size));
}

const std::filesystem::path& SafetensorsFile::path() const { return mapping_->path; }
const std::map<std::string, StoredTensor>& SafetensorsFile::tensors() const {
  return mapping_->tensors;
}

std::span<const std::byte> SafetensorsFile::bytes(const std::string& name) const {
  const auto it = mapping_->tensors.find(name);
  if (it == mapping_->tensors.end()) {
    fail(mapping_->path, base::concat("tensor ", name), "to be in the file", "no such name");
  }
  return {mapping_->data + it->second.begin,
          static_cast<size_t>(it->second.end - it->second.begin)};
}

int64_t SafetensorsFile::element_size(const std::string& name) const {
  return model::element_size(mapping_->tensors.at(name).dtype);
}

void SafetensorsFile::read_into(const std::string& name, at::Tensor destination) const {
  read_part_into(name, destination.sizes(), {0, 0}, destination);
}

void SafetensorsFile::read_part_into(const std::string& name, at::IntArrayRef shape,
                                     const std::array<int64_t, 2>& first,
                                     at::Tensor destination) const {
  const std::byte* const data = bytes(name).data();
  const StoredTensor& stored = mapping_->tensors.at(name);
  if (shape != at::IntArrayRef(stored.shape)) {
    fail(mapping_->path, base::concat("tensor ", name, ": shape"),
         base::concat("[", base::join(shape, ", "), "]"),
         base::concat("[", base::join(stored.shape, ", "), "]"));
  }
  // Whole rows of the file are one run; parts of rows are a run each.
  const int64_t full_width = shape.size() < 2 ? 1 : shape[1];
  const int64_t width = destination.dim() < 2 ? 1 : destination.size(1);
  const bool is_one_run = width == full_width;
  const int64_t n_runs = is_one_run ? 1 : destination.size(0);
  const int64_t run = is_one_run ? destination.numel() : width;
  const int64_t begin = first[0] * full_width + first[1];
  with_stored_type(destination.scalar_type(), [&]<class T>() {
    const auto copy = [&]<class Stored>() {
      T* const to = destination.data_ptr<T>();
      std::vector<std::byte> block;  // of numbers that are converted
      for (int64_t i = 0; i < n_runs; ++i) {
        mapping_->template read_numbers<Stored>(data, begin + i * full_width, run, to + i * run,
                                                block);
      }
    };
    if (stored.dtype == "F32") {
      copy.template operator()<float>();
    } else if (stored.dtype == "F64") {
      copy.template operator()<double>();
    } else if (stored.dtype == "BF16") {
      copy.template operator()<c10::BFloat16>();
    } else if (stored.dtype == "F16") {
      copy.template operator()<c10::Half>();
    } else {
      fail(mapping_->path, base::concat("tensor ", name, ": dtype"), "F64, F32, F16 or BF16",
           stored.dtype);
    }
  });
}

SafetensorsDirectory::SafetensorsDirectory(const std::filesystem::path& directory) {
  const std::filesystem::path whole = directory / "model.safetensors";
  const std::filesystem::path index_path = directory / "model.safetensors.index.json";
  if (base::exists(whole)) {
    files_.push_back(std::make_unique<SafetensorsFile>(whole));
    for (const auto& [name, tensor] : files_.back()->tensors()) {
      tensors_.emplace(name, files_.back().get());
    }
    return;
  }
  if (!base::exists(index_path)) {
    fail(directory, "no weights", "model.safetensors or model.safetensors.index.json", "neither");
  }
  const auto [index, problem] = base::parse_json(base::read_file(index_path, kMaxHeaderBytes));
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    fail(index_path, "index", "an object with weight_map",
         problem.empty() ? "something else" : problem);
  }
  std::map<std::string, const SafetensorsFile*> by_name;
  for (const auto& [name, file] : index["weight_map"].items()) {
    // A name with a folder in it could read any file of the machine.
    if (!file.is_string() || std::filesystem::path(file.get<std::string>()).has_parent_path()) {
      fail(index_path, base::concat("weight_map of ", name), "a file name", file.dump());
    }
    const std::string file_name = file.get<std::string>();
    if (!by_name.contains(file_name)) {
      files_.push_back(std::make_unique<SafetensorsFile>(directory / file_name));
      by_name[file_name] = files_.back().get();
    }
    if (!by_name[file_name]->tensors().contains(name)) {
      fail(index_path, base::concat("weight_map of ", name), base::concat("to be in ", file_name),
           "no such tensor there");
    }
    tensors_.emplace(name, by_name[file_name]);
  }
  for (const auto& file : files_) {
    for (const auto& [name, tensor] : file->tensors()) {
      if (!tensors_.contains(name)) {
        fail(file->path(), base::concat("tensor ", name), "to be in the index", "no entry for it");
      }
    }
  }
}

}  // namespace orrery::model
