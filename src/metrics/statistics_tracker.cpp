#include "orrery/metrics/statistics_tracker.h"

#include <algorithm>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // CallError, ShapeError
#include "orrery/base/text.h"   // concat

namespace orrery::metrics {

StatisticsTracker::StatisticsTracker(std::string name) : name_(std::move(name)) {}

StatisticsTracker::Scope StatisticsTracker::scope(std::string_view part) {
  scopes_.emplace_back(part);
  return Scope(*this);
}

StatisticsTracker::Scope::~Scope() { tracker_.scopes_.pop_back(); }

std::string StatisticsTracker::full_name(std::string_view name) const {
  std::string full = name_;
  for (const std::string& scope : scopes_) full += (full.empty() ? "" : "/") + scope;
  if (!full.empty()) full += "/";
  full += name;
  return full;
}

void StatisticsTracker::denominator(std::string_view name, std::span<const uint8_t> mask) {
  const std::string full = full_name(name);
  collected_.sum(full, static_cast<double>(std::count_if(mask.begin(), mask.end(),
                                                         [](uint8_t one) { return one != 0; })));
  latest_mask_[full].assign(mask.begin(), mask.end());
}

template <class T>
void StatisticsTracker::add_values(std::string_view name, std::span<const T> values,
                                   const ValueOptions& options) {
  const std::string over = full_name(options.over);
  const auto found = latest_mask_.find(over);
  if (found == latest_mask_.end()) {
    throw CallError(base::concat("statistic ", full_name(name), " has no denominator"),
                    {.expected = base::concat("a record of ", over, " before it"),
                     .got = "none",
                     .advice = "call denominator() first, in the same scope"});
  }
  const std::vector<uint8_t>& mask = found->second;
  if (mask.size() != values.size()) {
    throw ShapeError(
        base::concat("statistic ", full_name(name), " does not fit its denominator ", over),
        {.expected = base::counted(mask.size(), "value"),
         .got = std::to_string(values.size()),
         .advice = "record mask and values of the same micro-batch"});
  }
  double sum = 0, smallest = 0, largest = 0, count = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (mask[i] == 0) continue;
    const double value = values[i];
    smallest = count == 0 ? value : std::min(smallest, value);
    largest = count == 0 ? value : std::max(largest, value);
    sum += value;
    ++count;
  }
  const std::string full = full_name(name);
  const bool all_three = options.reduction == Reduction::kAvgMinMax;
  const auto record = [&](Reduction which, const char* suffix, Statistic::Kind kind, double value) {
    if (!all_three && options.reduction != which) return;
    collected_.add(all_three ? full + suffix : full, {.kind = kind, .sum = value, .weight = count});
  };
  record(Reduction::kAvg, "/avg", Statistic::kMean, sum);
  record(Reduction::kMin, "/min", Statistic::kMin, smallest);
  record(Reduction::kMax, "/max", Statistic::kMax, largest);
  if (!all_three) record(Reduction::kSum, "", Statistic::kSum, sum);
}

void StatisticsTracker::values(std::string_view name, std::span<const float> values,
                               const ValueOptions& options) {
  add_values(name, values, options);
}

void StatisticsTracker::values(std::string_view name, std::span<const double> values,
                               const ValueOptions& options) {
  add_values(name, values, options);
}

void StatisticsTracker::scalar(std::string_view name, double value) {
  collected_.scalar(full_name(name), value);
}

Statistics StatisticsTracker::take() {
  latest_mask_.clear();
  return std::exchange(collected_, {});
}

}  // namespace orrery::metrics
