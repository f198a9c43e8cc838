// Which tokenizer each role has where the configuration says auto. Local.
#pragma once

#include "orrery/config/experiment.h"

namespace orrery::cli {

/// Says for each role which tokenizer it has: a path or `byte`, no longer auto.
void resolve_tokenizers(config::Experiment& experiment);

}  // namespace orrery::cli
