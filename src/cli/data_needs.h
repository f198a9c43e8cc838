// What the calls and models of a job need of the records of a data set: answers that rules compare
// with, and prompts that leave room for an answer in the models' positions. Pure; rank 0.
#pragma once

#include <string>

#include "job.h"
#include "orrery/data/record_needs.h"

namespace orrery::cli {

/// For the data set `name`, by what trains on it and what evaluates it; nothing where neither does.
/// Roles whose architecture is not known are left out.
data::RecordNeeds needs_of(const Job& job, const std::string& name);

}  // namespace orrery::cli
