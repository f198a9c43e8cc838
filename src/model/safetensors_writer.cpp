#include <cerrno>
#include <cstring>  // strerror
#include <nlohmann/json.hpp>
#include <string_view>

#include "orrery/base/error.h"
#include "orrery/base/file.h"  // PosixFile, sync_folder
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

/// The bytes of a contiguous tensor.
std::string_view bytes_of(const at::Tensor& values) {
  return {static_cast<const char*>(values.const_data_ptr()),
          static_cast<size_t>(values.numel()) * values.element_size()};
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

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors) {
  const std::string header = header_of(tensors);
  std::filesystem::path beside = path;
  beside += ".writing";
  {
    const base::PosixFile file = base::PosixFile::create(beside);
    if (!file) fail(beside, "create", errno);
    if (!file.write(header)) fail(beside, "write", errno);
    for (const NamedTensor& tensor : tensors) {
      if (!file.write(bytes_of(tensor.values.contiguous()))) fail(beside, "write", errno);
    }
    if (!file.sync()) fail(beside, "sync", errno);
  }
  std::error_code error;
  std::filesystem::rename(beside, path, error);
  if (error) fail(path, "rename", error.value());
  base::sync_folder(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

}  // namespace orrery::model
