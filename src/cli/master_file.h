// master.h5, the master's file of a checkpoint: its state as JSON, the resolved configuration, for
// how long signs of LearningWatch have lasted and, as bytes, what dynamic sampling keeps.
// Rank 0 only.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "learning_watch.h"
#include "orrery/checkpoint/reader.h"
#include "orrery/master/master_state.h"

namespace orrery::cli {

struct MasterFile {
  master::MasterState state;
  std::string resolved_config;
  LearningWatch learning = {};  ///< signs that last; a checkpoint of the version before has none
};

/// Writes `directory`/master.h5. Throws CheckpointError.
checkpoint::FileRecord write_master_file(const std::filesystem::path& directory,
                                         const MasterFile& master);

/// Throws CheckpointError when the checkpoint has none or it does not say all.
MasterFile read_master_file(checkpoint::CheckpointReader& reader);

/// The state of dynamic sampling, which is a part of its own; nothing where there is none.
/// Throws CheckpointError when it cannot be read.
std::optional<master::RefillState> read_refill(checkpoint::CheckpointReader& reader);

/// JSON text of a state without `refill`, and back. Throws CheckpointError naming the field.
std::string state_text(const master::MasterState& state);
master::MasterState parse_state(const std::string& text);

}  // namespace orrery::cli
