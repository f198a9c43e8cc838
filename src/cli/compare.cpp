// `orrery compare`: what differs between two runs.
#include <iostream>
#include <set>

#include "commands.h"
#include "orrery/base/counted.h"
#include "orrery/base/table.h"
#include "orrery/base/text.h"
#include "orrery/config/report_commands.h"
#include "orrery/report/comparison.h"
#include "orrery/report/plot.h"
#include "run_views.h"

namespace orrery::cli {

namespace {

using report::short_number;
using report::terminal_text;

constexpr const char* kHelp = R"(orrery compare: what differs between two runs

  orrery compare A B [--tolerance R] [--all] [--times]

Configuration keys whose values differ, for each metric the first step at which it differs, and the
last evaluations.

)";

std::string config_text(const report::Comparison& comparison, const std::string& a,
                        const std::string& b) {
  if (comparison.config.empty()) return "configuration: the same\n";
  // A section that one run alone has is one line.
  std::vector<base::TableRow> rows;
  std::set<std::string> said;
  for (const report::ConfigDifference& one : comparison.config) {
    const std::string section = one.key.substr(0, one.key.rfind('.'));
    if (comparison.sections_of_one.contains(section)) {
      if (said.insert(section).second) {
        rows.push_back({"[" + section + "]", one.a ? "there" : "(not there)",
                        one.b ? "there" : "(not there)"});
      }
      continue;
    }
    rows.push_back({one.key, one.a ? terminal_text(*one.a, 60) : "(not there)",
                    one.b ? terminal_text(*one.b, 60) : "(not there)"});
  }
  return base::concat("configuration: ", base::counted(comparison.config.size(), "key"),
                      comparison.config.size() == 1 ? " differs\n" : " differ\n",
                      base::table_text({"key", a, b}, rows));
}

/// Of numbers that print alike all digits.
std::pair<std::string, std::string> texts_of(double a, double b) {
  std::pair<std::string, std::string> texts{short_number(a), short_number(b)};
  if (texts.first != texts.second || a == b) return texts;
  char of_a[40], of_b[40];
  std::snprintf(of_a, sizeof(of_a), "%.17g", a);
  std::snprintf(of_b, sizeof(of_b), "%.17g", b);
  return {of_a, of_b};
}

std::string metrics_text(const report::Comparison& comparison, bool all, const std::string& a,
                         const std::string& b) {
  std::vector<base::TableRow> rows;
  size_t n_equal = 0, n_apart = 0;
  for (const report::Parting& one : comparison.metrics) {
    if (one.common_steps == 0) continue;
    if (!one.first_step) {
      ++n_equal;
      if (all)
        rows.push_back(
            {one.metric, "never", "", "", short_number(one.last_a), short_number(one.last_b)});
      continue;
    }
    ++n_apart;
    const bool is_detail = one.metric.ends_with("_min") || one.metric.ends_with("_max") ||
                           one.metric.find("/minibatch") != std::string::npos;
    if (is_detail && !all) continue;
    const auto [then_a, then_b] = texts_of(one.a, one.b);
    rows.push_back({one.metric, std::to_string(*one.first_step), then_a, then_b,
                    short_number(one.last_a), short_number(one.last_b)});
  }
  std::string text = base::concat("metrics: ", n_apart, " part, ", n_equal,
                                  " are the same at all steps that both runs have\n");
  if (!rows.empty()) {
    text += base::table_text({"metric", "parts at step", a, b, "last: " + a, "last: " + b}, rows);
  }
  for (const auto& [names, run] : {std::pair{&comparison.only_a, &a}, {&comparison.only_b, &b}}) {
    if (!names->empty())
      text += base::concat("only in ", *run, ": ", base::join(*names, ", "), "\n");
  }
  return text;
}

std::string evaluations_text(const report::RunRecord& a, const report::RunRecord& b,
                             const std::string& name_a, const std::string& name_b) {
  std::vector<base::TableRow> rows;
  for (const auto& [name, curve] : a.curves) {
    const auto other = b.curves.find(name);
    if (!name.starts_with("eval") || other == b.curves.end() || curve.steps.empty()) continue;
    rows.push_back({name, std::to_string(curve.steps.back()), short_number(curve.values.back()),
                    std::to_string(other->second.steps.back()),
                    short_number(other->second.values.back())});
  }
  if (rows.empty()) return "evaluations: the runs have none in common\n";
  return "last evaluations\n" + base::table_text({"metric", "step", name_a, "step", name_b}, rows);
}

}  // namespace

int run_compare(std::span<const std::string> arguments) {
  const config::CompareOptions options = config::parse_compare_options(arguments);
  if (options.help) {
    std::cout << kHelp << config::compare_options_help();
    return 0;
  }
  const report::RunRecord a = read_run(options.a);
  const report::RunRecord b = read_run(options.b);
  const bool same_name = a.name == b.name;
  const std::string name_a = same_name ? options.a : a.name;
  const std::string name_b = same_name ? options.b : b.name;
  for (const report::RunRecord* run : {&a, &b}) {
    if (run->n_problems > 0) std::cerr << run->name << ": " << run->problems.front() << "\n";
    if (!run->has_metrics()) std::cerr << run->name << ": no metrics yet\n";
  }
  const report::Comparison comparison =
      report::compare_runs(a, b, options.tolerance, options.times);
  std::cout << config_text(comparison, name_a, name_b) << "\n"
            << metrics_text(comparison, options.all, name_a, name_b) << "\n"
            << evaluations_text(a, b, name_a, name_b);
  return 0;
}

}  // namespace orrery::cli
