// The data sets of a job as a table for people: what each is for, its rows, its share of what is
// drawn, how long its records are.
#pragma once

#include <string>

#include "job.h"

namespace orrery::cli {

/// Of data sets that were read with DataCheck::kReadLengths. Rank 0.
std::string data_table(const Job& job);

}  // namespace orrery::cli
