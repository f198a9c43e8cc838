// Checks of roles and their models, before anything is allocated: files, sizes, vocabularies, and
// whether the calls can run on them. Rank 0 only.
#pragma once

#include "checks.h"

namespace orrery::cli {

/// Fills job.architectures and collects what is wrong with models, layouts and tokenizers.
void check_models(Job& job, Checks& checks);

}  // namespace orrery::cli
