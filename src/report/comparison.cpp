#include "orrery/report/comparison.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>

namespace orrery::report {

namespace {

std::map<std::string, std::string> values_of(const RunRecord& run,
                                             std::vector<std::string>& order) {
  std::map<std::string, std::string> values;
  for (const ConfigValue& value : run.config) {
    const std::string key = value.section.empty() ? value.key : value.section + "." + value.key;
    if (values.emplace(key, value.value).second) order.push_back(key);
  }
  return values;
}

std::vector<ConfigDifference> config_differences(const RunRecord& a, const RunRecord& b) {
  std::vector<std::string> order, order_b;
  const auto of_a = values_of(a, order);
  const auto of_b = values_of(b, order_b);
  for (const std::string& key : order_b) {
    if (!of_a.contains(key)) order.push_back(key);
  }
  std::vector<ConfigDifference> differences;
  for (const std::string& key : order) {
    ConfigDifference difference{.key = key, .a = {}, .b = {}};
    if (const auto found = of_a.find(key); found != of_a.end()) difference.a = found->second;
    if (const auto found = of_b.find(key); found != of_b.end()) difference.b = found->second;
    if (difference.a != difference.b) differences.push_back(std::move(difference));
  }
  return differences;
}

std::set<std::string> sections_of_one(const RunRecord& a, const RunRecord& b) {
  std::set<std::string> of_a, of_b, one;
  for (const ConfigValue& value : a.config) of_a.insert(value.section);
  for (const ConfigValue& value : b.config) of_b.insert(value.section);
  std::set_symmetric_difference(of_a.begin(), of_a.end(), of_b.begin(), of_b.end(),
                                std::inserter(one, one.begin()));
  return one;
}

bool is_equal(double a, double b, double tolerance) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b || std::abs(a - b) <= tolerance * std::max(std::abs(a), std::abs(b));
}

Parting parting_of(const std::string& name, const Curve& a, const Curve& b, double tolerance) {
  Parting parting{.metric = name, .first_step = {}};
  for (size_t i = 0, j = 0; i < a.steps.size() && j < b.steps.size();) {
    if (a.steps[i] != b.steps[j]) {
      ++(a.steps[i] < b.steps[j] ? i : j);
      continue;
    }
    ++parting.common_steps;
    parting.last_a = a.values[i];
    parting.last_b = b.values[j];
    if (!parting.first_step && !is_equal(a.values[i], b.values[j], tolerance)) {
      parting.first_step = a.steps[i];
      parting.a = a.values[i];
      parting.b = b.values[j];
    }
    ++i;
    ++j;
  }
  return parting;
}

}  // namespace

bool depends_on_machine(const std::string& metric) {
  return metric.starts_with("time/") || metric.starts_with("memory/") ||
         metric.find("per_second") != std::string::npos ||
         metric.find("bytes_redistributed") != std::string::npos;
}

Comparison compare_runs(const RunRecord& a, const RunRecord& b, double tolerance, bool with_times) {
  Comparison result{.sections_of_one = sections_of_one(a, b),
                    .config = config_differences(a, b),
                    .metrics = {},
                    .only_a = {},
                    .only_b = {}};
  for (const auto& [name, curve] : a.curves) {
    if (!with_times && depends_on_machine(name)) continue;
    const auto other = b.curves.find(name);
    if (other == b.curves.end()) {
      result.only_a.push_back(name);
    } else {
      result.metrics.push_back(parting_of(name, curve, other->second, tolerance));
    }
  }
  for (const auto& [name, curve] : b.curves) {
    if (!a.curves.contains(name) && (with_times || !depends_on_machine(name))) {
      result.only_b.push_back(name);
    }
  }
  std::stable_sort(result.metrics.begin(), result.metrics.end(),
                   [](const Parting& x, const Parting& y) {
                     return x.first_step.value_or(INT64_MAX) < y.first_step.value_or(INT64_MAX);
                   });
  return result;
}

}  // namespace orrery::report
