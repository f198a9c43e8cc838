// Collects values per token or per sequence under masks, over several records (micro-batches), and
// turns them into Statistics: average, minimum and maximum over the valid elements of all records.
// Any rank; one thread. Nothing is communicated: merge the results of the ranks instead.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/metrics/statistics.h"

namespace orrery::metrics {

/// How the valid elements of a value become one number (or three).
enum class Reduction {
  kAvgMinMax,  ///< names `x/avg`, `x/min`, `x/max`
  kAvg,        ///< the following: name `x`
  kSum,
  kMin,
  kMax,
};

/// Example:
///   StatisticsTracker tracker("actor");
///   auto scope = tracker.scope("ppo");
///   tracker.denominator("n_tokens", mask);          // actor/ppo/n_tokens
///   tracker.values("loss", loss, {.over = "n_tokens"});  // actor/ppo/loss/avg, .../min, .../max
class StatisticsTracker {
 public:
  /// `name` prefixes all names; may be empty.
  explicit StatisticsTracker(std::string name = {});

  /// While it lives, names get its part as a further prefix.
  class Scope {
   public:
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope();

   private:
    friend class StatisticsTracker;
    explicit Scope(StatisticsTracker& tracker) : tracker_(tracker) {}
    StatisticsTracker& tracker_;
  };
  [[nodiscard]] Scope scope(std::string_view part);

  /// One more record of a mask (0 / 1); exported as the count of its ones under its name.
  void denominator(std::string_view name, std::span<const uint8_t> mask);

  struct ValueOptions {
    std::string_view over = {};  ///< denominator, of this scope; its latest record is the mask
    Reduction reduction = Reduction::kAvgMinMax;
  };
  /// One more record of a value, [mask size]. Throws CallError when the denominator has no record
  /// and ShapeError when the sizes differ.
  void values(std::string_view name, std::span<const float> values, const ValueOptions& options);
  void values(std::string_view name, std::span<const double> values, const ValueOptions& options);

  /// One record of a number without elements; averaged over records.
  void scalar(std::string_view name, double value);

  /// What was collected, by full name; the tracker is empty afterwards.
  Statistics take();

 private:
  std::string full_name(std::string_view name) const;
  template <class T>
  void add_values(std::string_view name, std::span<const T> values, const ValueOptions& options);

  std::string name_;
  std::vector<std::string> scopes_;
  std::map<std::string, std::vector<uint8_t>> latest_mask_;
  Statistics collected_;
};

}  // namespace orrery::metrics
