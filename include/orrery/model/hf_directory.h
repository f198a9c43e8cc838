// Hugging Face checkpoint directories: config.json + safetensors in, the same out. Families and
// what is honoured: docs/models.md. Local; any thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <vector>

#include "orrery/model/decoder.h"
#include "orrery/model/parameter_loading.h"

namespace orrery::model {

/// Reads config.json and model.safetensors (or its shards by model.safetensors.index.json). Stored
/// bf16, fp16, fp32 and fp64 are converted to `dtype` (kFloat or kDouble).
/// Throws ConfigError for what config.json asks and we cannot do and for tensors that are missing,
/// surplus or misshaped; CheckpointError for a damaged file and for a tensor that is not finite.
/// With name and file.
Decoder load_hf(const std::filesystem::path& directory, at::ScalarType dtype = at::kFloat);

/// The same into a decoder that exists, or into its shard of the model, of which only the shard's
/// bytes are read; the architectures must agree, tokens and family aside. A decoder with a value
/// head may also be given a language model: then the value head stays as it is. Collective over
/// `options.data`, as load_parameters() is.
void load_hf_parameters(const std::filesystem::path& directory, Decoder& decoder,
                        const LoadOptions& options = {});

/// Whether the files have the tensors of `architecture`, in its shapes: by their headers alone, so
/// in no time whatever the size. Throws ConfigError naming tensor and file.
void check_hf_tensors(const std::filesystem::path& directory, const Architecture& architecture);

struct HfExport {
  /// Tensors are put into files of at most this many bytes, unless one alone has more. More than
  /// one file: numbered ones with model.safetensors.index.json.
  int64_t max_file_bytes = 5'000'000'000;
  /// A directory whose tokenizer and generation files are copied; empty: none.
  std::filesystem::path companions_from = {};
  /// Tokens that ended the answers it learned from. Those that the architecture does not know are
  /// written behind its own, so that the answers of who loads it end.
  std::vector<int64_t> end_tokens = {};
};

/// Writes config.json, generation_config.json, the weights in the decoder's type, and copies what
/// belongs to them: what `transformers` loads. The directory appears whole or not at all: it is
/// written beside and renamed, replacing an earlier one of that name. Throws OutputError when it
/// cannot be written.
void save_hf(const std::filesystem::path& directory, const Decoder& decoder);
void save_hf(const std::filesystem::path& directory, const Decoder& decoder,
             const HfExport& options);

}  // namespace orrery::model
