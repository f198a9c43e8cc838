// Checks of distillation between two roles, before anything is allocated. Rank 0.
#pragma once

#include "checks.h"
#include "job.h"

namespace orrery::cli {

/// Whoever learns from the whole distributions of a teacher needs its head on the same workers, a
/// vocabulary of the same size, and weights that stay as they are; of log-probabilities of tokens
/// vocabularies of two sizes are a warning. After check_models.
void check_teachers(const Job& job, Checks& checks);

}  // namespace orrery::cli
