// What `--model` names, looked at before any work: everything that can be seen without reading the
// weights is checked here, once, on rank 0.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <string>

#include "orrery/config/experiment.h"
#include "orrery/config/model_commands.h"
#include "orrery/data/tokenizer.h"
#include "orrery/graph/layout.h"
#include "orrery/model/architecture.h"
#include "orrery/model/decoder.h"
#include "orrery/model/parameter_loading.h"

namespace orrery::cli {

/// What a directory holds.
enum class DirectoryKind {
  kHuggingFace,  ///< config.json and safetensors files
  kCheckpoint,   ///< an Orrery checkpoint: manifest.json
  kRun,          ///< a run directory: config.cfg
  kOther,
};
DirectoryKind kind_of(const std::filesystem::path& directory);

/// A directory of a model that can be loaded.
struct ModelSource {
  std::filesystem::path directory;
  DirectoryKind kind = DirectoryKind::kHuggingFace;
  std::string role;  ///< of a checkpoint
  model::Architecture architecture;
};

/// The `[model.ROLE]` section of the run that wrote a checkpoint. Throws CheckpointError when it
/// has none.
config::ModelConfig model_config_of(const std::filesystem::path& directory,
                                    const std::string& role);

/// Whether the files of a checkpoint are read to compare their hashes: once in a job.
enum class SourceCheck { kStructure, kHashes };

/// Reads what says how the model is made, and the headers of its weights. Throws ConfigError for
/// whatever keeps it from being loaded: no such directory, no model in it, an architecture that is
/// not supported, damaged or missing files.
ModelSource open_model(const std::filesystem::path& directory, const std::string& role,
                       SourceCheck check);

/// HDF5 does not survive every damage, so sizes and hashes are compared before it sees a file.
/// Throws CheckpointError that names the first that is not what the manifest says.
void check_files(const std::filesystem::path& checkpoint);

/// Fills a decoder of the source's architecture, or its shard, whose bytes alone are read. Throws
/// ConfigError naming file and tensor. Collective over `options.data`.
void load_parameters(const ModelSource& source, model::Decoder& decoder,
                     const model::LoadOptions& options = {});

/// Throws ConfigError that names the first parameter with a NaN or an infinity.
void check_finite(const model::Decoder& decoder, const ModelSource& source);

/// Of --dtype, which has been checked: what parameters are stored as. bf16 ones are computed with
/// in fp32 (decision 0505).
at::ScalarType parameter_type(const std::string& dtype);

/// The layout of `text`, or data parallel over all workers. Throws ConfigError with every reason
/// why it fits neither the workers nor the model.
graph::Layout layout_for(const std::string& text, int n_workers,
                         const model::Architecture& architecture);

/// Throws ConfigError when the tokenizer has more tokens than the model.
void require_vocabulary(const ModelSource& source, const data::Tokenizer& tokenizer);

/// The tokenizer that belongs to the model. Throws ConfigError when there is none.
std::unique_ptr<data::Tokenizer> tokenizer_for(const ModelSource& source);

}  // namespace orrery::cli
