#include "orrery/report/page.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string_view>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/metrics/metric_list.h"
#include "orrery/report/script_text.h"
#include "page_parts.h"

namespace orrery::report {

namespace {

/// Curves of one call share their steps: each list of steps is written once.
class StepLists {
 public:
  int64_t number_of(const std::vector<int64_t>& steps) {
    const auto [place, is_new] = numbers_.emplace(steps, static_cast<int64_t>(numbers_.size()));
    if (is_new) lists_.push_back(&place->first);
    return place->second;
  }
  void write(ScriptText& out) const {
    out.begin_list();
    for (const std::vector<int64_t>* list : lists_) {
      out.begin_list();
      for (const int64_t step : *list) out.integer(step);
      out.end_list();
    }
    out.end_list();
  }

 private:
  std::map<std::vector<int64_t>, int64_t> numbers_;
  std::vector<const std::vector<int64_t>*> lists_;
};

void write_curve(ScriptText& out, StepLists& lists, const Curve& curve) {
  out.begin_list().integer(lists.number_of(curve.steps)).begin_list();
  for (const double value : curve.values) out.number(value);
  out.end_list().end_list();
}

void write_curves(ScriptText& out, const RunRecord& run, size_t most_points) {
  StepLists lists;
  out.key("curves").begin_object();
  for (const auto& [name, curve] : run.curves) {
    out.key(name);
    write_curve(
        out, lists,
        name.starts_with("time/") ? span_means(curve, most_points) : thinned(curve, most_points));
  }
  out.end_object();
  out.key("totals").begin_object();
  for (const auto& [name, curve] : run.curves) {
    if (!name.starts_with("time/")) continue;
    double sum = 0;
    for (const double value : curve.values) sum += std::isfinite(value) ? value : 0;
    out.key(name).begin_list().number(sum);
    out.integer(static_cast<int64_t>(curve.values.size())).end_list();
  }
  out.end_object();
  Curve times;
  for (const auto& [step, seconds] : run.time_of_step) times.put(step, seconds);
  out.key("times");
  write_curve(out, lists, thinned(times, most_points));
  out.key("steps");
  lists.write(out);
}

void write_plan(ScriptText& out, const PlanFacts& plan) {
  out.key("plan").begin_object();
  out.key("text").text(plan.text).key("problem").text(plan.problem);
  out.key("calls").begin_list();
  for (const PlanFacts::Call& call : plan.calls) {
    out.begin_object();
    out.key("name").text(call.name).key("kind").text(call.kind);
    out.key("interface").text(call.interface).key("role").text(call.role);
    out.key("layout").text(call.layout).key("level").integer(call.level);
    out.key("n_seqs").integer(call.n_seqs).key("runs").integer(call.runs_per_step);
    out.end_object();
  }
  out.end_list().key("edges").begin_list();
  for (const PlanFacts::Edge& edge : plan.edges) {
    out.begin_list().text(edge.producer).text(edge.consumer).text(edge.keys).end_list();
  }
  out.end_list().key("workers").begin_list();
  for (const PlanFacts::Worker& worker : plan.workers) {
    out.begin_object();
    out.key("replicas").text(worker.replicas);
    out.key("parameters").integer(worker.parameter_bytes);
    out.key("training").integer(worker.training_bytes);
    out.key("generation").integer(worker.generation_bytes);
    out.end_object();
  }
  out.end_list().end_object();
}

void write_workers(ScriptText& out, const std::vector<WorkerTimes>& workers) {
  StepLists lists;
  out.key("workers").begin_object().key("of").begin_list();
  for (const WorkerTimes& worker : workers) {
    out.begin_object().key("name").text(worker.name).key("busy");
    write_curve(out, lists, thinned(worker.busy_seconds, kMostPointsOfCurve));
    out.key("resident");
    write_curve(out, lists, thinned(worker.resident_bytes, kMostPointsOfCurve));
    out.key("spans").begin_object();
    for (const auto& [name, seconds] : worker.of_span) out.key(name).number(seconds);
    out.end_object().end_object();
  }
  out.end_list().key("steps");
  lists.write(out);
  out.end_object();
}

std::string state_text(const RunRecord& run) {
  switch (run.state) {
    case RunState::kGoingOn:
      return "goes on";
    case RunState::kEnded:
      return run.ending;
    case RunState::kUnknown:
      break;
  }
  return "no ending in its log: killed, or it goes on elsewhere";
}

void write_run(ScriptText& out, const ReportRun& run, size_t most_points) {
  out.begin_object();
  out.key("name").text(run.record.name).key("path").text(run.record.root.string());
  out.key("state").text(state_text(run.record));
  write_curves(out, run.record, most_points);
  out.key("config").begin_list();
  for (const ConfigValue& value : run.record.config) {
    out.begin_list().text(value.section).text(value.key).text(value.value).end_list();
  }
  out.end_list().key("log").begin_list();
  for (const LogLine& line : run.record.log) {
    out.begin_list().text(line.time).text(line.level).text(line.text).integer(line.count);
    out.end_list();
  }
  out.end_list().key("problems").begin_list();
  for (const std::string& problem : run.record.problems) out.text(problem);
  for (const std::string& problem : run.samples.problems) out.text(problem);
  out.end_list();
  out.key("n_problems").integer(run.record.n_problems + run.samples.n_problems);
  out.key("n_samples").integer(static_cast<int64_t>(run.samples.places.size()));
  write_plan(out, run.plan);
  write_workers(out, run.workers);
  out.end_object();
}

/// Unit and definition of each metric that the runs have.
void write_definitions(ScriptText& out, const std::set<std::string>& names) {
  out.key("definitions").begin_object();
  for (const std::string& name : names) {
    const auto rows = metrics::metrics_named(name);
    if (rows.empty()) continue;
    std::string definition;
    for (const metrics::Metric* row : rows) {
      if (!definition.empty()) definition += "\nor: ";
      definition += row->definition;
    }
    out.key(name).begin_list().text(rows.front()->unit).text(definition).end_list();
  }
  out.end_object();
}

/// `text` with `{{name}}` replaced where it stands for the first time. What is put in is not looked
/// at again: a prompt may say {{script}}.
std::string filled(std::string_view text,
                   const std::vector<std::pair<std::string_view, std::string_view>>& parts) {
  std::string result;
  for (const auto& [name, content] : parts) {
    const std::string mark = base::concat("{{", name, "}}");
    const size_t place = text.find(mark);
    ORRERY_ASSERT(place != std::string_view::npos, base::concat("page.html lacks ", mark));
    result += text.substr(0, place);
    result += content;
    text.remove_prefix(place + mark.size());
  }
  return result.append(text);
}

}  // namespace

Curve thinned(const Curve& curve, size_t most_points) {
  const size_t n = curve.steps.size();
  if (n <= std::max<size_t>(most_points, 4)) return curve;
  Curve result;
  const auto take = [&](size_t i) { result.put(curve.steps[i], curve.values[i]); };
  const size_t n_spans = std::max<size_t>(1, (most_points - 2) / 2);
  take(0);
  for (size_t span = 0; span < n_spans; ++span) {
    const size_t begin = span * n / n_spans;
    const size_t end = (span + 1) * n / n_spans;
    size_t low = begin, high = begin;
    for (size_t i = begin; i < end; ++i) {
      if (!(curve.values[i] >= curve.values[low])) low = i;  // NaN counts as both: a gap shows
      if (!(curve.values[i] <= curve.values[high])) high = i;
    }
    take(std::min(low, high));
    take(std::max(low, high));
  }
  take(n - 1);
  return result;
}

Curve span_means(const Curve& curve, size_t most_points) {
  const size_t n = curve.steps.size();
  const size_t length = (n + most_points - 1) / std::max<size_t>(1, most_points);
  if (length <= 1) return curve;
  Curve means;
  for (size_t begin = 0; begin < n; begin += length) {
    double sum = 0;
    size_t count = 0;
    for (size_t i = begin; i < std::min(n, begin + length); ++i) {
      if (!std::isfinite(curve.values[i])) continue;
      sum += curve.values[i];
      ++count;
    }
    means.put(curve.steps[begin], count > 0 ? sum / static_cast<double>(count)
                                            : std::numeric_limits<double>::quiet_NaN());
  }
  return means;
}

std::string page_html(const std::vector<ReportRun>& runs, const PageOptions& options) {
  std::set<std::string> names;
  size_t n_curves = 0;
  for (const ReportRun& run : runs) {
    for (const auto& [name, curve] : run.record.curves) names.insert(name);
    n_curves += run.record.curves.size();
  }
  const size_t most_points =
      std::min(kMostPointsOfCurve, kMostPoints / std::max<size_t>(1, n_curves));
  ScriptText data;
  data.begin_object();
  data.key("made").text(options.made).key("program").text(options.program);
  data.key("sample_rule").text(options.sample_rule);
  data.key("refresh").integer(options.refresh_seconds);
  data.key("most_points").integer(static_cast<int64_t>(most_points));
  write_definitions(data, names);
  data.key("runs").begin_list();
  for (const ReportRun& run : runs) write_run(data, run, most_points);
  data.end_list().end_object();

  ScriptText samples;
  samples.begin_list();
  for (const ReportRun& run : runs) write_samples(samples, run.samples, run.chosen);
  samples.end_list();

  return filled(kPageTemplate, {{"title", html_text(options.title)},
                                {"chart licence", kChartLicence},
                                {"chart style", kChartStyle},
                                {"style", kPageStyle},
                                {"data", data.str()},
                                {"samples", samples.str()},
                                {"chart script", kChartScript},
                                {"scripts", kPageScripts}});
}

}  // namespace orrery::report
