#include "orrery/model/hf_rewrite.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"
#include "orrery/model/architecture.h"

namespace orrery::model {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

namespace {

constexpr const char* kCompanions[] = {"generation_config.json",
                                       "tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "vocab.json",
                                       "merges.txt",
                                       "tokenizer.model",
                                       "chat_template.jinja",
                                       "chat_template.json",
                                       "preprocessor_config.json"};

struct StoredType {
  const char* name;  // as safetensors spells it
  at::ScalarType type;
};
constexpr StoredType kTypes[] = {{"F64", at::kDouble},
                                 {"F32", at::kFloat},
                                 {"F16", at::kHalf},
                                 {"BF16", at::kBFloat16},
                                 {"I64", at::kLong}};

at::ScalarType type_of(const StoredTensor& stored, const std::string& where) {
  for (const StoredType& known : kTypes) {
    if (stored.dtype == known.name) return known.type;
  }
  throw CheckpointError(base::concat(where, " has an element type that cannot be written"),
                        {.expected = "F64, F32, F16, BF16 or I64",
                         .got = stored.dtype,
                         .advice = "convert this checkpoint with the tool that made it"});
}

/// The tensor as the file has it; valid while the file is open.
at::Tensor view_of(const SafetensorsFile& file, const std::string& name) {
  const StoredTensor& stored = file.tensors().at(name);
  const at::ScalarType type = type_of(stored, base::concat(file.path().string(), ": ", name));
  const std::span<const std::byte> bytes = file.bytes(name);
  if (bytes.empty()) return at::empty(stored.shape, type);
  return at::from_blob(const_cast<std::byte*>(bytes.data()), stored.shape, type);
}

at::Tensor converted(const SafetensorsFile& file, const std::string& name,
                     const RewriteOptions& options) {
  const at::Tensor stored = view_of(file, name);
  if (!options.dtype || !stored.is_floating_point() || stored.scalar_type() == *options.dtype) {
    return stored;
  }
  return stored.to(*options.dtype);
}

int64_t stored_size(const SafetensorsFile& file, const std::string& name,
                    const RewriteOptions& options) {
  const at::Tensor stored = view_of(file, name);
  const bool changes = options.dtype.has_value() && stored.is_floating_point();
  return stored.numel() *
         static_cast<int64_t>(changes ? at::elementSize(*options.dtype) : stored.element_size());
}

const char* name_in_config(at::ScalarType type) {
  return type == at::kDouble ? "float64" : type == at::kBFloat16 ? "bfloat16" : "float32";
}

std::string config_with_type(const fs::path& config_json, const RewriteOptions& options) {
  const std::string text = base::read_file(config_json);
  if (!options.dtype) return text;
  auto [config, problem] = base::parse_json<ordered_json>(text);
  if (!config.is_object()) {
    throw CheckpointError(base::concat(config_json.string(), " is no JSON object"),
                          {.expected = "a Hugging Face config.json",
                           .got = problem.empty() ? "another JSON value" : problem,
                           .advice = "download the file again"});
  }
  // transformers 5 writes `dtype`, all before it `torch_dtype`.
  const char* const key = config.contains("dtype") ? "dtype" : "torch_dtype";
  config[key] = name_in_config(*options.dtype);
  return config.dump(2) + "\n";
}

std::string file_name(size_t number, size_t n_files) {
  if (n_files == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", number + 1, n_files);
  return name;
}

void write_weights(const SafetensorsDirectory& stored, const fs::path& to,
                   const RewriteOptions& options) {
  std::vector<std::pair<std::string, int64_t>> sizes;
  int64_t total = 0;
  for (const auto& [name, file] : stored.tensors()) {
    sizes.emplace_back(name, stored_size(*file, name, options));
    total += sizes.back().second;
  }
  const std::vector<std::vector<std::string>> files = plan_files(sizes, options.max_file_bytes);
  ordered_json index = {{"metadata", {{"total_size", total}}},
                        {"weight_map", ordered_json::object()}};
  int64_t done = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    std::vector<NamedTensor> tensors;
    for (const std::string& name : files[i]) {
      const SafetensorsFile& file = *stored.tensors().at(name);
      if (const int64_t n = options.check_finite ? count_not_finite(file, name) : 0; n > 0) {
        throw CheckpointError(base::concat(file.path().string(), ": ", name, " is not finite"),
                              {.expected = "finite numbers (--check)",
                               .got = base::concat(n, " that are NaN or infinite"),
                               .advice = "use another checkpoint of this model"});
      }
      tensors.push_back({name, converted(file, name, options)});
      done += static_cast<int64_t>(tensors.back().values.nbytes());
      index["weight_map"][name] = file_name(i, files.size());
    }
    write_safetensors(to / file_name(i, files.size()), tensors);
    if (options.progress) options.progress(done, total);
  }
  if (files.size() > 1) {
    base::publish_file(to / "model.safetensors.index.json", index.dump(2) + "\n");
  }
}

[[noreturn]] void fail(const fs::path& directory, const std::string& reason) {
  throw OutputError(
      base::concat("cannot write ", directory.string()),
      {.expected = "a new directory", .got = reason, .advice = "check space and permissions"});
}

}  // namespace

int64_t count_not_finite(const SafetensorsFile& file, const std::string& name) {
  const at::Tensor stored = view_of(file, name);
  if (!stored.is_floating_point()) return 0;
  return stored.numel() - at::isfinite(stored).sum().item<int64_t>();
}

std::vector<std::vector<std::string>> plan_files(
    const std::vector<std::pair<std::string, int64_t>>& sizes, int64_t max_file_bytes) {
  std::vector<std::vector<std::string>> files;
  int64_t filled = 0;
  for (const auto& [name, size] : sizes) {
    if (files.empty() || (filled > 0 && filled + size > max_file_bytes)) {
      files.emplace_back();
      filled = 0;
    }
    files.back().push_back(name);
    filled += size;
  }
  return files;
}

void copy_companions(const fs::path& from, const fs::path& to) {
  for (const char* name : kCompanions) {
    if (!base::exists(from / name)) continue;
    base::publish_file(to / name, base::read_file(from / name));
  }
}

void publish_directory(const fs::path& directory,
                       const std::function<void(const fs::path&)>& what) {
  fs::path target = base::without_slash(directory);
  try {
    target = base::link_target(target);
    fs::path beside = target;
    beside += ".writing";
    const fs::path old = base::free_name(target, ".replaced");
    fs::remove_all(beside);
    fs::create_directories(beside);
    try {
      what(beside);
    } catch (...) {
      std::error_code ignored;
      fs::remove_all(beside, ignored);  // half of a model is of no use to anyone
      throw;
    }
    // Two renames: for a moment the name does not exist, but never with half of its files.
    const bool replaces = base::exists(target);
    if (replaces) fs::rename(target, old);
    fs::rename(beside, target);
    try {
      base::sync_folder(target.has_parent_path() ? target.parent_path() : fs::path("."));
    } catch (const OutputError&) {
      // A name that may be gone after a crash is none: all is as it was before.
      std::error_code ignored;  // the first error matters
      fs::remove_all(target, ignored);
      if (replaces) fs::rename(old, target, ignored);
      throw;
    }
    fs::remove_all(old);
  } catch (const fs::filesystem_error& error) {
    fail(target, error.code().message());
  } catch (const OutputError& error) {
    fail(target, error.what());
  }
}

void rewrite_hf(const fs::path& from, const fs::path& to, const RewriteOptions& options) {
  Architecture::from_hf_config(from / "config.json");  // refuses what cannot be used afterwards
  const SafetensorsDirectory stored(from);
  publish_directory(to, [&](const fs::path& folder) {
    write_weights(stored, folder, options);
    copy_companions(from, folder);
    base::publish_file(folder / "config.json", config_with_type(from / "config.json", options));
  });
}

}  // namespace orrery::model
