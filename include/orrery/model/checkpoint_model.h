// The parameters of a role in an Orrery checkpoint: read into a decoder or a shard of one, whatever
// layout they were written in, and written as a checkpoint that holds one model and nothing else.
// Matrices are named ROLE/parameters/NAME, as those that `train` writes. Local, but for loading.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "orrery/data/dtype.h"
#include "orrery/graph/layout.h"
#include "orrery/model/decoder.h"
#include "orrery/model/parameter_loading.h"

namespace orrery::model {

/// Whether the directory is, or claims to be, a checkpoint: it has a manifest.json.
bool is_checkpoint(const std::filesystem::path& directory);

/// Roles whose parameters the checkpoint has, ascending. Throws CheckpointError.
std::vector<std::string> roles_in_checkpoint(const std::filesystem::path& directory);

/// `wanted` if the checkpoint has it; else the only role that it has. Throws CheckpointError that
/// names the roles there are.
std::string role_in_checkpoint(const std::filesystem::path& directory, const std::string& wanted);

/// In which the role's parameters are stored. Throws CheckpointError.
at::ScalarType stored_type(const std::filesystem::path& directory, const std::string& role);

/// The role's parameters, for load_parameters(). A value head that the checkpoint does not have is
/// left out. Throws CheckpointError; what it returns too, naming what is missing, misshaped or
/// damaged.
std::unique_ptr<ParameterFiles> open_checkpoint_parameters(const std::filesystem::path& directory,
                                                           const std::string& role);

/// Reads what the decoder, or its shard, holds, converted to its type. Collective over
/// `options.data`, as load_parameters() is.
void load_checkpoint_parameters(const std::filesystem::path& directory, const std::string& role,
                                Decoder& decoder, const LoadOptions& options = {});

struct SavedModel {
  std::string role;
  data::DType dtype;            ///< of the parameters in the files: rounded to it
  graph::Layout layout;         ///< a file for each shard of data rank 0
  std::string program_version;  ///< for the manifest
  /// Files of the folder that belong to the model and come under the manifest's hashes.
  std::vector<std::string> companions;
};

/// Writes the shard files and the manifest into `folder`, which exists and holds the companions.
/// Throws CheckpointError.
void write_checkpoint_model(const std::filesystem::path& folder, const Decoder& whole,
                            const SavedModel& saved);

}  // namespace orrery::model
