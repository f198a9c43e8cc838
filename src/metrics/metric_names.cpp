// From names in metrics.jsonl to rows of the list, and the list as a page.
#include <sstream>

#include "orrery/base/text.h"
#include "orrery/metrics/metric_list.h"

namespace orrery::metrics {

namespace {

/// `minibatch<i>` matches `minibatch12`: text before <, anything, nothing after >.
bool matches_part(std::string_view pattern, std::string_view part) {
  const size_t open = pattern.find('<');
  if (open == std::string_view::npos) return pattern == part;
  return part.size() > open && part.starts_with(pattern.substr(0, open));
}

bool matches(std::string_view pattern, std::string_view name) {
  const std::vector<std::string> wanted = base::split(pattern, '/');
  const std::vector<std::string> parts = base::split(name, '/');
  if (wanted.size() != parts.size()) return false;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!matches_part(wanted[i], parts[i])) return false;
  }
  return true;
}

/// The row that stands for this name itself: of one minibatch that of all.
std::string of_all_minibatches(std::string_view name) {
  const size_t slash = name.find("/minibatch");
  if (slash == std::string_view::npos) return std::string(name);
  const size_t end = name.find('/', slash + 1);
  if (end == std::string_view::npos) return std::string(name);
  return base::concat(name.substr(0, slash), name.substr(end));
}

bool is_row_of(const Metric& metric, std::string_view name) {
  if (matches(metric.name, name)) return true;
  if (metric.spread == Spread::kNone) return false;
  for (const std::string_view ending : {"_min", "_max"}) {
    if (name.ends_with(ending) && matches(metric.name, name.substr(0, name.size() - 4)))
      return true;
  }
  return false;
}

/// Text of a table's cell: a bar would end it, and < begins a mark.
std::string cell(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|' || c == '<') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

}  // namespace

std::vector<const Metric*> metrics_named(std::string_view name) {
  const std::string of_all = of_all_minibatches(name);
  std::vector<const Metric*> rows;
  for (const MetricSection& section : metric_list()) {
    for (const Metric& metric : section.metrics) {
      if (is_row_of(metric, of_all)) rows.push_back(&metric);
    }
  }
  return rows;
}

std::string metrics_markdown() {
  std::ostringstream out;
  out << R"(# Metrics

This page is made from the list of metrics of the program: `orrery train --help --metrics-markdown`.
Tests hold it current and compare it with what whole runs write.

A run writes its numbers to `metrics.jsonl` and `tensorboard/`. A line has the numbers of one call of one
step, or (`call` null) of a step as a whole or of an evaluation; step 0 is before training:

```
{"step":12,"time_s":3.4,"call":"actor_train","metrics":{"actor_train/loss":1.25}}
```

Numbers are merged over all workers, each with its denominator, so that a mean is the mean over all
elements. `<call>` is the name of a `[call.X]` section, `<data set>` that of a `[dataset.X]`. A name with
`, _min, _max` stands for three: its mean, smallest and largest element. A number that is not finite is
`null`. Logarithms are natural.
)";
  for (const MetricSection& section : metric_list()) {
    out << "\n## " << section.title << "\n\n"
        << section.text << "\n\n"
        << "| metric | unit | definition | written by |\n| --- | --- | --- | --- |\n";
    for (const Metric& metric : section.metrics) {
      out << "| `" << metric.name << "`"
          << (metric.spread == Spread::kMinMax ? ", `_min`, `_max`" : "") << " | "
          << cell(metric.unit) << " | " << cell(metric.definition) << " | " << cell(metric.source)
          << (metric.when.empty() ? "" : "; if: ") << cell(metric.when) << " |\n";
    }
  }
  return std::move(out).str();
}

}  // namespace orrery::metrics
