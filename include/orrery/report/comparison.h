// Two runs beside each other: configuration, where their numbers part, how they ended. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "orrery/report/run.h"

namespace orrery::report {

/// A key whose values differ; nothing: the run does not have it.
struct ConfigDifference {
  std::string key;
  std::optional<std::string> a, b;
};

/// A metric that both runs have.
struct Parting {
  std::string metric;
  int64_t common_steps = 0;           ///< that both have
  std::optional<int64_t> first_step;  ///< of these the first with another value; nothing: none
  double a = 0, b = 0;                ///< values there
  double last_a = 0, last_b = 0;      ///< of the last common step
};

struct Comparison {
  std::set<std::string> sections_of_one;  ///< that only one of the files has
  std::vector<ConfigDifference> config;   ///< in the order of the first run's file
  std::vector<Parting> metrics;           ///< by first step, then by name; equal ones last
  std::vector<std::string> only_a, only_b;
};

/// Times, rates and what else depends on the machine are left out unless `with_times`.
///   tolerance  relative difference up to which two values count as equal; 0: bit for bit
Comparison compare_runs(const RunRecord& a, const RunRecord& b, double tolerance, bool with_times);

/// Whether a metric tells of the machine and not of the training: times, rates, memory.
bool depends_on_machine(const std::string& metric);

}  // namespace orrery::report
