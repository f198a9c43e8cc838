#include <fcntl.h>   // open
#include <unistd.h>  // write, fsync

#include <cerrno>
#include <cstring>  // strerror
#include <nlohmann/json.hpp>

#include "orrery/base/error.h"
#include "orrery/base/file.h"  // FileDescriptor
#include "orrery/base/text.h"
#include "orrery/model/safetensors.h"

namespace orrery::model {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* operation, int error) {
  throw OutputError(base::concat(path.string(), ": ", operation),
                    {.expected = "a complete file",
                     .got = std::strerror(error),
                     .advice = "check space and permissions of the folder"});
}

void write_all(int file, const void* from, size_t size, const std::filesystem::path& path) {
  const char* at = static_cast<const char*>(from);
  while (size > 0) {
    const ssize_t written = ::write(file, at, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(path, "write", errno);
    }
    at += written;
    size -= static_cast<size_t>(written);
  }
}

const char* dtype_name(const NamedTensor& tensor) {
  switch (tensor.values.scalar_type()) {
    case at::kFloat:
      return "F32";
    case at::kDouble:
      return "F64";
    case at::kHalf:
      return "F16";
    case at::kBFloat16:
      return "BF16";
    case at::kLong:
      return "I64";
    default:
      throw CheckpointError(base::concat("tensor ", tensor.name, ": dtype"),
                            {.expected = "fp32, fp64, fp16, bf16 or int64",
                             .got = c10::toString(tensor.values.scalar_type()),
                             .advice = "convert it first"});
  }
}

/// The header with its length in front, padded with spaces so that the data starts at 8 bytes.
std::string header_of(std::span<const NamedTensor> tensors) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  int64_t at = 0;
  for (const NamedTensor& tensor : tensors) {
    const int64_t bytes =
        tensor.values.numel() * static_cast<int64_t>(tensor.values.element_size());
    header[tensor.name] = {{"dtype", dtype_name(tensor)},
                           {"shape", tensor.values.sizes().vec()},
                           {"data_offsets", {at, at + bytes}}};
    at += bytes;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t size = text.size();
  return std::string(reinterpret_cast<const char*>(&size), sizeof size) + text;
}

void sync_folder(const std::filesystem::path& folder) {
  const base::FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0 || ::fsync(opened.get()) != 0) fail(folder, "sync", errno);
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors) {
  const std::string header = header_of(tensors);
  std::filesystem::path beside = path;
  beside += ".writing";
  {
    const base::FileDescriptor file(
        ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (file.get() < 0) fail(beside, "create", errno);
    write_all(file.get(), header.data(), header.size(), beside);
    for (const NamedTensor& tensor : tensors) {
      const at::Tensor values = tensor.values.contiguous();
      write_all(file.get(), values.const_data_ptr(),
                static_cast<size_t>(values.numel()) * values.element_size(), beside);
    }
    if (::fsync(file.get()) != 0) fail(beside, "sync", errno);
  }
  std::error_code error;
  std::filesystem::rename(beside, path, error);
  if (error) fail(path, "rename", error.value());
  sync_folder(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

}  // namespace orrery::model
