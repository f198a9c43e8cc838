#include "evaluation_result.h"

#include <algorithm>
#include <cstdio>

#include "orrery/base/json.h"
#include "orrery/base/table.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace {

const config::EvaluationSet& set_of(const Job& job, const master::EvaluationReport& report) {
  return *job.experiment.find_evaluation_set(report.set);
}

/// The set's name; of the only one that of its data.
std::string name_of(const config::EvaluationSet& set) {
  return set.name.empty() ? set.options.dataset : set.name;
}

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.6g", value);
  return text;
}

}  // namespace

std::string EvaluationResult::table(const Job& job) const {
  std::vector<base::TableRow> rows;
  for (const bool of_values : {false, true}) {
    for (const master::EvaluationReport& report : reports_) {
      const config::EvaluationSet& set = set_of(job, report);
      const size_t prefix = set.metric_prefix().size();
      for (const auto& [name, value] : report.statistics.values()) {
        const std::string metric = name.substr(prefix);
        if ((metric.find('=') != std::string::npos) != of_values) continue;
        rows.push_back({name_of(set), metric, number_text(value)});
      }
    }
  }
  return base::table_text({"set", "metric", "value"}, rows);
}

std::string EvaluationResult::json(const Job& job) const {
  const graph::Call& call = job.graph.call(0);
  nlohmann::ordered_json result = {{"model", job.experiment.find_model(call.role)->path},
                                   {"seed", job.experiment.experiment.seed},
                                   {"sets", nlohmann::ordered_json::array()}};
  for (const master::EvaluationReport& report : reports_) {
    const config::EvaluationSet& set = set_of(job, report);
    nlohmann::ordered_json metrics = nlohmann::ordered_json::object();
    for (const auto& [name, value] : report.statistics.values()) {
      metrics[name.substr(set.metric_prefix().size())] = value;
    }
    result["sets"].push_back({{"set", name_of(set)},
                              {"dataset", set.options.dataset},
                              {"call", report.call},
                              {"seconds", report.work_seconds},
                              {"metrics", metrics}});
  }
  return result.dump(2) + "\n";
}

}  // namespace orrery::cli
