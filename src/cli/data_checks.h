// Checks of data sets: what an experiment does with each, and every record of their files. Rank 0
// only.
#pragma once

#include <string>

#include "checks.h"
#include "orrery/data/record_needs.h"

namespace orrery::cli {

/// What is trained on and what is evaluated, as far as the configuration alone tells.
void check_uses(const Job& job, Checks& checks);

/// An evaluation needs a call that trains on the like.
void check_evaluation(const Job& job, Checks& checks);

/// Says for each data set whether its prompts get a beginning-of-sequence token: add_bos is no
/// longer auto; and what in the texts around prompts is not as the model's own tokenizer has it.
void check_templates(Job& job, Checks& checks);

/// Reads and checks all data files: fills job.indices.
void read_data(Job& job, Checks& checks, data::RecordNeeds::Lengths lengths);

}  // namespace orrery::cli
