// Every metric that a run writes, with unit, definition and origin: docs/metrics.md is made from
// it, and a test of whole runs compares what they wrote with it. Constant data; any rank, any
// thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::metrics {

/// Whether the name stands for three: x, x_min and x_max.
enum class Spread { kNone, kMinMax };

/// A new metric is one row in metric_list.cpp.
struct Metric {
  /// As in metrics.jsonl; a part in <> is any text without a slash: `<call>/reward`.
  std::string_view name;
  Spread spread = Spread::kNone;
  std::string_view unit;
  std::string_view definition;
  std::string_view source;  ///< what writes it
  /// What has to be set or to happen for it to be written; empty: whenever its source runs.
  std::string_view when = {};
};

/// A part of the list under a heading.
struct MetricSection {
  std::string_view title;
  std::string_view text;
  std::span<const Metric> metrics;
};

std::span<const MetricSection> metric_list();

/// The rows of a name in metrics.jsonl; several where calls of different kinds write it. None: it
/// is not in the list.
std::vector<const Metric*> metrics_named(std::string_view name);

/// docs/metrics.md.
std::string metrics_markdown();

}  // namespace orrery::metrics
