// Runs of configs/grpo_tiny.cfg and what they left.
#pragma once

#include <cmath>
#include <fstream>

#include "base/temporary_folder.h"
#include "integration/command.h"

namespace orrery::integration {

/// Arguments of a run of the smallest shipped configuration into `folder`.
inline std::string tiny(const TemporaryFolder& folder, const std::string& more = "") {
  return "train " + source("configs/grpo_tiny.cfg") +
         " --set experiment.output_dir=" + folder.path().string() + " " + more;
}

/// Rewards that differ from answer to answer, even of a model that knows nothing.
inline std::string judged(const TemporaryFolder& folder) {
  std::ofstream(folder / "judge.py") << R"(
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    reward = sum(map(ord, question["response"])) % 7 / 3 - 1
    print(json.dumps({"id": question["id"], "reward": reward}), flush=True)
)";
  return "--set call.reward.interface=command_reward --set call.reward.command=\"python3 -u " +
         (folder / "judge.py").string() + "\" ";
}

/// The values of a metric, step by step.
inline std::vector<double> values_of(const std::filesystem::path& run_directory,
                                     const std::string& metric) {
  std::vector<double> values;
  for (const auto& row : read_jsonl(run_directory / "metrics.jsonl")) {
    if (row["metrics"].contains(metric)) values.push_back(row["metrics"][metric].get<double>());
  }
  return values;
}

/// The last value of a metric, or NaN.
inline double last_value(const std::filesystem::path& run_directory, const std::string& metric) {
  const std::vector<double> values = values_of(run_directory, metric);
  return values.empty() ? std::nan("") : values.back();
}

}  // namespace orrery::integration
