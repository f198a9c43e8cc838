// Dynamic sampling (DAPO, arXiv:2503.14476, section 3.2): a step is trained on groups of answers
// that can teach something. Groups are generated and judged in rounds until a batch of them is
// accepted; what is accepted beyond the batch is carried over to the next step or discarded; a
// limit ends a step that does not get there. Pure: groups are numbers here, rewards come in, and
// what to do comes out. The master's dispatcher acts on it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace orrery::master {

/// By what a group is accepted.
enum class AcceptMetric {
  kAccuracy,      ///< low < share of rewards above correct_above < high
  kRewardSpread,  ///< largest - smallest reward > min_spread
};

struct AcceptRule {
  AcceptMetric metric = AcceptMetric::kAccuracy;
  double correct_above = 0;
  double low = 0;
  double high = 1;
  double min_spread = 0;
};

enum class Surplus { kCarryOver, kDiscard };
enum class OnLimit { kRefuse, kUsePartial };

struct DynamicSamplingOptions {
  int64_t batch_groups = 1;      ///< groups of one step
  int64_t groups_per_round = 1;  ///< generated and judged together
  AcceptRule accept = {};
  int64_t max_rounds = 0;  ///< of a step; 0: as many as there is something to generate from
  OnLimit on_limit = OnLimit::kRefuse;
  Surplus surplus = Surplus::kCarryOver;
};

/// `accuracy` or `reward_spread`, `carry_over` or `discard`, `refuse` or `use_partial`. Each throws
/// ConfigError for another name. Local.
AcceptMetric accept_metric_named(std::string_view name);
Surplus surplus_named(std::string_view name);
OnLimit on_limit_named(std::string_view name);

/// Throws ConfigError that names the first option out of range. Local.
void check(const DynamicSamplingOptions& options);

/// Share of the rewards above `correct_above`; 0 of none. Local.
double share_above(std::span<const double> rewards, double correct_above);

/// Whether a group with these rewards is trained on. One without any reward never is.
/// Throws CallError for a reward that is not finite. Local.
bool is_accepted(std::span<const double> rewards, const AcceptRule& rule);

/// A group and the rewards of its answers, without those that have none.
struct JudgedGroup {
  int64_t group = 0;
  std::vector<double> rewards;
};

/// What a round's judgement says of its groups, each in the order of generation.
struct RoundResult {
  std::vector<int64_t> accepted;
  std::vector<int64_t> rejected;
};

/// What a step came to; groups by number.
struct SampledStep {
  std::vector<int64_t> accepted;  ///< trained on: those carried in first, then as generated
  std::vector<int64_t> rejected;  ///< in the order of generation
  std::vector<int64_t> carried_over;
  std::vector<int64_t> discarded;
  int64_t carried_in = 0;
  int64_t rounds = 0;
  int64_t generated_groups = 0;
  bool is_complete = true;  ///< batch_groups are accepted
};

/// The rule, from step to step. Main thread of the master.
class DynamicSampling {
 public:
  /// Throws ConfigError as check().
  explicit DynamicSampling(DynamicSamplingOptions options);

  const DynamicSamplingOptions& options() const { return options_; }

  /// The step begins with the groups that were carried over.
  void begin_step();
  /// How many groups to generate now: those of a round, or all `n_available` that are left to
  /// generate from; 0: the batch is full, or a limit is reached.
  int64_t next_round(int64_t n_available) const;
  /// Takes in a whole round, in the order of generation.
  /// Throws CallError for a reward that is not finite; nothing is taken in then.
  RoundResult judge(const std::vector<JudgedGroup>& round);
  /// Ends the step, once next_round() is 0. What it carries over is kept for the next one.
  /// Throws CallError when the batch is not full and on_limit is kRefuse.
  SampledStep finish_step();

  /// Groups of the step that are accepted so far; between steps those carried over.
  int64_t n_accepted() const { return static_cast<int64_t>(accepted_.size()); }
  /// Carried over to the next step, oldest first; between steps only.
  const std::vector<int64_t>& carried() const { return accepted_; }
  /// Puts them back, from a checkpoint.
  void restore_carried(std::vector<int64_t> groups) { accepted_ = std::move(groups); }

 private:
  DynamicSamplingOptions options_;
  std::vector<int64_t> accepted_;
  SampledStep step_;
};

}  // namespace orrery::master
