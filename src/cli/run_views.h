// What the commands that look at runs share: report, watch, plot, compare.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "orrery/report/page.h"
#include "orrery/report/run.h"

namespace orrery::cli {

/// A run as it is now. Throws ConfigError when the path is no run directory.
report::RunRecord read_run(const std::string& path);

/// Graph, layouts and memory of a run directory, from its configuration, or why there is none.
report::PlanFacts plan_facts(const std::string& run_directory, int n_workers);

/// Metrics of a run that a person looks at first, those that it has.
std::vector<std::string> important_metrics(const report::RunRecord& run, size_t most);

}  // namespace orrery::cli
