// `orrery generate --prompt`: text on standard output, token by token, as it is generated.
#pragma once

#include "command_ranks.h"
#include "model_shard.h"
#include "orrery/config/model_commands.h"
#include "orrery/model/generator.h"
#include "prompt_reader.h"
#include "text_file.h"

namespace orrery::cli {

struct StreamJob {
  const config::GenerateOptions& options;
  const PromptReader* reader;  ///< rank 0
  const model::GenerationOptions& generation;
  TokenSequences prompts;  ///< of the command line; none: the lines of standard input
};

/// Continues one prompt after the other on the first data rank; each begins anew, and draws as the
/// prompt of its number in a file does. Returns the exit code. Collective over all ranks.
int stream_answers(const CommandRanks& ranks, const ModelShard& shard, const StreamJob& job);

}  // namespace orrery::cli
