// A Hugging Face directory written again: weights in another type, in files of another size. Works
// on the stored tensors, one file at a time, so a model may be larger than the memory. Local.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "orrery/model/safetensors.h"

namespace orrery::model {

struct RewriteOptions {
  std::optional<at::ScalarType> dtype = {};  ///< kFloat, kDouble or kBFloat16; nothing: as stored
  int64_t max_file_bytes = 5'000'000'000;    ///< a larger tensor has a file of its own
  bool check_finite = false;                 ///< refuse NaN and infinity
  /// Told after each file: bytes written so far and in all. May be empty.
  std::function<void(int64_t done, int64_t all)> progress = {};
};

/// Writes config.json, the weights, and copies of the tokenizer's and generation files of `from`.
/// `to` appears whole or not at all, replacing an earlier directory of that name.
/// Throws ConfigError for an architecture that is not supported, CheckpointError for damaged or
/// missing weights, OutputError when `to` cannot be written.
void rewrite_hf(const std::filesystem::path& from, const std::filesystem::path& to,
                const RewriteOptions& options);

/// Copies what belongs to a model beside its weights and config.json, as far as it is there:
/// tokenizer, chat template, generation defaults.
void copy_companions(const std::filesystem::path& from, const std::filesystem::path& to);

/// `what` fills a new directory, `directory`.writing, which then takes the name `directory` at once
/// (of a link that of what it leads to). What has the first name goes: it is of a job that was
/// killed. Throws OutputError when the file system does not do it.
void publish_directory(const std::filesystem::path& directory,
                       const std::function<void(const std::filesystem::path&)>& what);

/// Tensors of each file, in order, so that none but a file of one tensor is larger than the limit.
/// Pure.
std::vector<std::vector<std::string>> plan_files(
    const std::vector<std::pair<std::string, int64_t>>& sizes, int64_t max_file_bytes);

/// How many of the stored numbers are NaN or infinite; 0 of tensors of whole numbers.
int64_t count_not_finite(const SafetensorsFile& file, const std::string& name);

}  // namespace orrery::model
