// master.h5, the master's file of a checkpoint: its state as JSON and the resolved configuration.
// Rank 0 only.
#pragma once

#include <filesystem>
#include <string>

#include "orrery/checkpoint/reader.h"
#include "orrery/master/master_state.h"

namespace orrery::cli {

/// Writes `directory`/master.h5. Throws CheckpointError.
checkpoint::FileRecord write_master_file(const std::filesystem::path& directory,
                                         const master::MasterState& state,
                                         const std::string& resolved_config);

struct MasterFile {
  master::MasterState state;
  std::string resolved_config;
};

/// Throws CheckpointError when the checkpoint has none or it does not say all.
MasterFile read_master_file(checkpoint::CheckpointReader& reader);

/// JSON text of a state, and back. Throws CheckpointError naming the field.
std::string state_text(const master::MasterState& state);
master::MasterState parse_state(const std::string& text);

}  // namespace orrery::cli
