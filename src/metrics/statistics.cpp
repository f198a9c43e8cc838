#include "orrery/metrics/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "orrery/base/error.h"  // CallError
#include "orrery/base/text.h"   // concat

namespace orrery::metrics {

namespace {

std::string_view name_of(Statistic::Kind kind) {
  switch (kind) {
    case Statistic::kMean:
      return "mean";
    case Statistic::kSum:
      return "sum";
    case Statistic::kMin:
      return "min";
    case Statistic::kMax:
      return "max";
    case Statistic::kScalar:
      return "scalar";
    case Statistic::kDeviation:
      return "deviation";
  }
  return "?";
}

}  // namespace

void Statistic::merge(const Statistic& other) {
  if (kind != other.kind) {
    throw CallError("a statistic is merged with one of another kind",
                    {.expected = std::string(name_of(kind)),
                     .got = std::string(name_of(other.kind)),
                     .advice = "use one name for one kind of number"});
  }
  if (!other.has_value()) return;
  if (!has_value()) {
    *this = other;
    return;
  }
  switch (kind) {
    case kMin:
      sum = std::min(sum, other.sum);
      break;
    case kMax:
      sum = std::max(sum, other.sum);
      break;
    case kDeviation: {  // Chan, Golub and LeVeque: no difference of large squares
      const double distance = other.sum / other.weight - sum / weight;
      squares +=
          other.squares + distance * distance * weight * other.weight / (weight + other.weight);
      sum += other.sum;
      break;
    }
    case kMean:
    case kSum:
    case kScalar:
      sum += other.sum;
      break;
  }
  weight += other.weight;
}

double Statistic::value() const {
  if (!has_value()) return std::numeric_limits<double>::quiet_NaN();
  if (kind == kDeviation) {
    const double deviation = std::sqrt(squares / weight);
    // What adding up equal numbers leaves is not a deviation.
    return deviation <= 1e-12 * std::abs(sum / weight) ? 0 : deviation;
  }
  return kind == kMean || kind == kScalar ? sum / weight : sum;
}

void Statistics::add(std::string_view name, const Statistic& statistic) {
  const auto found = items_.find(name);
  if (found == items_.end()) {
    items_.emplace(name, statistic);
    return;
  }
  if (found->second.kind != statistic.kind) {
    throw CallError(base::concat("statistic ", name, " is recorded as two kinds of number"),
                    {.expected = std::string(name_of(found->second.kind)),
                     .got = std::string(name_of(statistic.kind)),
                     .advice = "use one name for one kind of number"});
  }
  found->second.merge(statistic);
}

void Statistics::mean(std::string_view name, double sum, double weight) {
  if (weight > 0) add(name, {.kind = Statistic::kMean, .sum = sum, .weight = weight});
}

void Statistics::sum(std::string_view name, double value) {
  add(name, {.kind = Statistic::kSum, .sum = value, .weight = 1});
}

void Statistics::min(std::string_view name, double value) {
  add(name, {.kind = Statistic::kMin, .sum = value, .weight = 1});
}

void Statistics::max(std::string_view name, double value) {
  add(name, {.kind = Statistic::kMax, .sum = value, .weight = 1});
}

void Statistics::scalar(std::string_view name, double value) {
  add(name, {.kind = Statistic::kScalar, .sum = value, .weight = 1});
}

void Statistics::deviation(std::string_view name, double value) {
  add(name, {.kind = Statistic::kDeviation, .sum = value, .weight = 1});
}

void Statistics::merge(const Statistics& other) {
  for (const auto& [name, statistic] : other) add(name, statistic);
}

Statistics Statistics::with_prefix(std::string_view prefix) const {
  Statistics result;
  for (const auto& [name, statistic] : items_) {
    result.items_.emplace(std::string(prefix) + name, statistic);
  }
  return result;
}

const Statistic* Statistics::find(std::string_view name) const {
  const auto found = items_.find(name);
  return found == items_.end() ? nullptr : &found->second;
}

std::optional<double> Statistics::value(std::string_view name) const {
  const Statistic* statistic = find(name);
  if (statistic == nullptr || !statistic->has_value()) return std::nullopt;
  return statistic->value();
}

std::map<std::string, double> Statistics::values() const {
  std::map<std::string, double> result;
  for (const auto& [name, statistic] : items_) {
    if (statistic.has_value()) result.emplace(name, statistic.value());
  }
  return result;
}

}  // namespace orrery::metrics
