#include "orrery/config/evaluate.h"

#include <algorithm>
#include <set>

#include "orrery/base/text.h"

namespace orrery::config {

namespace {

/// The first name that stands in the list twice, or nothing.
std::optional<std::string> doubled(const std::vector<std::string>& names) {
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (!seen.insert(name).second) return name;
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> names_in(std::string_view text) {
  std::vector<std::string> names;
  if (base::trim(text).empty()) return names;
  for (const std::string& part : base::split(text, ',')) {
    names.emplace_back(base::trim(part));
  }
  return names;
}

std::vector<int64_t> numbers_in(std::string_view text) {
  std::vector<int64_t> numbers;
  for (const std::string& name : names_in(text)) {
    int64_t number = 0;
    if (!read_value(name, number)) numbers.push_back(number);
  }
  return numbers;
}

Check list_of_names() {
  return {.text = "names, by commas",
          .problem = [](const std::string& text) -> std::optional<std::string> {
            const std::vector<std::string> names = names_in(text);
            if (std::find(names.begin(), names.end(), "") != names.end()) {
              return base::concat("must be names with one comma between two, got '", text, "'");
            }
            if (const auto name = doubled(names)) {
              return base::concat(*name, " stands there twice");
            }
            return std::nullopt;
          }};
}

Check whole_numbers() {
  return {.text = "integers from 1 on, by commas",
          .problem = [](const std::string& text) -> std::optional<std::string> {
            for (const std::string& name : names_in(text)) {
              int64_t number = 0;
              if (read_value(name, number) || number < 1) {
                return base::concat("must be integers from 1 on, such as 1, 8, got '", name, "'");
              }
            }
            if (const auto name = doubled(names_in(text))) {
              return base::concat(*name, " stands there twice");
            }
            return std::nullopt;
          }};
}

std::string EvaluationSet::metric_prefix() const {
  return name.empty() ? std::string("eval/") : base::concat("eval/", name, "/");
}

std::vector<int64_t> EvaluationSet::k_values() const {
  std::vector<int64_t> values = numbers_in(options.k);
  if (values.empty() && options.samples > 1) values = {1, options.samples};
  std::sort(values.begin(), values.end());
  return values;
}

std::vector<std::string> EvaluationSet::reward_names() const {
  std::vector<std::string> names;
  for (const std::string& item : names_in(options.rewards)) {
    names.emplace_back(base::trim(std::string_view(item).substr(0, item.rfind(':'))));
  }
  return names;
}

std::vector<std::string> EvaluationSet::metrics_to_keep(std::optional<DatasetKind> kind) const {
  if (kind == DatasetKind::kCompletions) return {"loss"};
  if (kind == DatasetKind::kPreferences) return {"preference_accuracy"};
  std::vector<std::string> metrics = {"accuracy"};
  for (const int64_t k : k_values()) {
    metrics.push_back(base::concat("pass@", k));
    metrics.push_back(base::concat("avg@", k));
    if (counts_votes()) metrics.push_back(base::concat("maj@", k));
  }
  if (options.rewards.empty()) return metrics;
  metrics.emplace_back("reward");
  for (const std::string& name : reward_names()) metrics.push_back("reward/" + name);
  return metrics;
}

std::optional<BestMetric> best_metric_in(const EvaluateConfig& evaluate) {
  if (evaluate.keep_best.empty()) return std::nullopt;
  if (evaluate.sets.empty()) return BestMetric{.set = {}, .metric = evaluate.keep_best};
  const size_t slash = evaluate.keep_best.find('/');
  if (slash == std::string::npos) return BestMetric{.set = evaluate.keep_best, .metric = {}};
  return BestMetric{.set = evaluate.keep_best.substr(0, slash),
                    .metric = evaluate.keep_best.substr(slash + 1)};
}

}  // namespace orrery::config
