// Checks of where weights and tokens come from: a role that begins at random or is fed with another
// model's tokens runs as well as any, and learns nothing. Rank 0 only.
#pragma once

#include "checks.h"

namespace orrery::cli {

/// After check_models(): roles without files, value heads that nothing trains, tokenizers that are
/// not the model's.
void check_origins(const Job& job, Checks& checks);

}  // namespace orrery::cli
