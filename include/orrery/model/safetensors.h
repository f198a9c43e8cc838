// The safetensors file format: 8 bytes of header length, a JSON header {name: {dtype, shape,
// data_offsets}}, the data. Everything in the header is checked before any of it is believed; the
// data is mapped, not read. Local; any thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::model {

/// A tensor as the file has it.
struct StoredTensor {
  std::string dtype;           // F64, F32, F16, BF16, I64, ... as the file spells it
  std::vector<int64_t> shape;  // empty: a scalar
  int64_t begin = 0;           // bytes from the start of the data
  int64_t end = 0;
};

class SafetensorsFile {
 public:
  /// Maps the file. Throws CheckpointError that names file, tensor and place: truncated, a header
  /// that is no JSON or too long, a missing or mistyped field, offsets that overlap, leave a gap,
  /// disagree with shape and dtype, or pass the end.
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;

  const std::filesystem::path& path() const;
  const std::map<std::string, StoredTensor>& tensors() const;

  /// Converts F64, F32, F16 or BF16 into `destination` (kFloat, kDouble or kBFloat16, contiguous,
  /// on the host), which must
  /// have the stored shape. Throws CheckpointError naming the tensor.
  void read_into(const std::string& name, at::Tensor destination) const;

  /// The same of a part of a tensor whose stored shape must be `shape`: as many rows and columns as
  /// `destination` has, from row first[0] and column first[1] on. Reads no other bytes.
  void read_part_into(const std::string& name, at::IntArrayRef shape,
                      const std::array<int64_t, 2>& first, at::Tensor destination) const;

  /// Bytes of one number of a tensor.
  int64_t element_size(const std::string& name) const;

  /// The bytes of a tensor, valid while the file is open.
  std::span<const std::byte> bytes(const std::string& name) const;

 private:
  struct Mapping;
  std::unique_ptr<Mapping> mapping_;
};

/// The files of a checkpoint directory and which tensor is in which: model.safetensors, or what
/// model.safetensors.index.json lists. Throws CheckpointError when neither is there, a shard is
/// missing, or index and shards disagree.
class SafetensorsDirectory {
 public:
  explicit SafetensorsDirectory(const std::filesystem::path& directory);

  /// Name -> the file that holds it.
  const std::map<std::string, const SafetensorsFile*>& tensors() const { return tensors_; }

 private:
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, const SafetensorsFile*> tensors_;
};

struct NamedTensor {
  std::string name;
  at::Tensor values;  // contiguous, on the CPU: kFloat, kDouble, kHalf, kBFloat16 or kLong
};

/// Writes all tensors in this order, with {"format": "pt"} as metadata. The file has its old
/// content or all of the new one, whatever happens. Throws OutputError when the file system
/// refuses, CheckpointError for a type of number that such a file cannot hold.
void write_safetensors(const std::filesystem::path& path, std::span<const NamedTensor> tensors);

}  // namespace orrery::model
