#include "sampling_options.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <tuple>

#include "orrery/algorithm/possible_rewards.h"
#include "orrery/algorithm/registry.h"  // option_facts
#include "orrery/base/counted.h"

namespace orrery::cli {

namespace {

using base::concat;

constexpr const char* kSection = "dynamic_sampling";

std::string key_of(const char* name) { return concat(kSection, ".", name); }

/// Answers of a prompt that a generate call gives; 1 of other calls.
int64_t group_size_of(const Job& job, const graph::Call& call) {
  if (call.kind != graph::CallKind::kGenerate) return 1;
  return algorithm::option_facts(*job.experiment.find_call(call.name)).group_size;
}

/// The most answers of a prompt that a call which runs for every round gives.
int64_t group_size_of(const Job& job, const std::vector<bool>& judging) {
  int64_t size = 1;
  for (size_t i = 0; i < judging.size(); ++i) {
    if (judging[i]) size = std::max(size, group_size_of(job, job.graph.calls()[i]));
  }
  return size;
}

/// So many groups that every data rank and minibatch of the waiting calls has an answer.
int64_t fewest_groups(const Job& job, const std::vector<bool>& judging) {
  const int64_t group_size = group_size_of(job, judging);
  int64_t fewest = 1;
  for (size_t i = 0; i < judging.size(); ++i) {
    if (judging[i]) continue;
    const graph::Call& call = job.graph.calls()[i];
    const int64_t n_minibatches =
        algorithm::option_facts(*job.experiment.find_call(call.name)).n_minibatches;
    const int64_t of_rank = (n_minibatches + group_size - 1) / group_size;
    fewest = std::max(fewest, of_rank * call.layout.data);
  }
  return fewest;
}

/// The checks of one job that samples dynamically.
class SamplingChecks {
 public:
  SamplingChecks(const Job& job, Checks& checks)
      : job_(job),
        config_(job.experiment.dynamic_sampling),
        checks_(checks),
        options_(*refill_options(job)),
        judging_(master::judging_calls(job.graph, options_.rewards)) {}

  void run() {
    const size_t n_before = checks_.problems().size();
    check_bounds();
    check_filter();
    check_unused();
    check_length_of_run();
    if (job_.graph.size() == 0) return;  // has been reported
    for (const graph::GraphProblem& problem : master::check_refill(job_.graph, options_)) {
      checks_.add(problem.key, problem.text);
    }
    if (checks_.problems().size() > n_before) return;
    check_groups();
    check_limit();
    check_rewards();
    check_spread();
  }

 private:
  bool is_by_accuracy() const { return config_.accept == "accuracy"; }
  void add(const char* name, const std::string& text) { checks_.add(key_of(name), text); }

  void check_bounds() {
    if (is_by_accuracy() && config_.low >= config_.high) {
      add("low", concat("is ", config_.low, ", not below high (", config_.high,
                        "): no share of right answers lies between; lower it"));
    }
    if (config_.on_limit == "use_partial" && config_.max_rounds == 0) {
      checks_.warn(key_of("on_limit"),
                   "without max_rounds a step goes over all prompts before it takes what there is");
    }
  }

  void check_filter() {
    if (config_.min_pass_rate > config_.max_pass_rate) {
      add("min_pass_rate", concat("is ", config_.min_pass_rate, ", above max_pass_rate (",
                                  config_.max_pass_rate, "): lower it"));
    }
    if (config_.filter_after_answers == 0) {
      for (const auto& [name, is_set] :
           {std::pair{"min_pass_rate", config_.min_pass_rate > 0},
            {"max_pass_rate", config_.max_pass_rate < 1},
            {"retry_after", config_.retry_after != defaults_.retry_after},
            {"easy_first_steps", config_.easy_first_steps > 0},
            {"easy_first_from", config_.easy_first_from != defaults_.easy_first_from}}) {
        if (!is_set) continue;
        add(name,
            "has no effect without filter_after_answers: write filter_after_answers = 8, or "
            "leave it out");
      }
      return;
    }
    if (config_.easy_first_steps == 0) {
      if (config_.easy_first_from != defaults_.easy_first_from) {
        add("easy_first_from",
            "has no effect without easy_first_steps: write easy_first_steps = 100, or leave it "
            "out");
      }
      if (config_.min_pass_rate == 0 && config_.max_pass_rate == 1) {
        checks_.warn(key_of("filter_after_answers"),
                     "passes over no prompt: min_pass_rate is 0 and max_pass_rate 1");
      }
      return;
    }
    if (config_.easy_first_from < config_.min_pass_rate ||
        config_.easy_first_from > config_.max_pass_rate) {
      add("easy_first_from",
          concat("is ", config_.easy_first_from, ", outside of min_pass_rate and max_pass_rate (",
                 config_.min_pass_rate, " to ", config_.max_pass_rate, ")"));
    }
  }

  /// Bounds of the other rule.
  void check_unused() {
    for (const auto& [name, is_set, accept] :
         {std::tuple{"low", config_.low != defaults_.low && !is_by_accuracy(), "accuracy"},
          {"high", config_.high != defaults_.high && !is_by_accuracy(), "accuracy"},
          {"min_spread", config_.min_spread != defaults_.min_spread && is_by_accuracy(),
           "reward_spread"}}) {
      if (is_set) checks_.warn(key_of(name), concat("has no effect without accept = ", accept));
    }
  }

  /// How many steps an epoch has nobody knows before.
  void check_length_of_run() {
    if (job_.experiment.experiment.total_steps > 0) return;
    for (const auto& [role, model] : job_.experiment.models) {
      const bool falls = model.lr_schedule != "constant";
      const bool warms_up = model.warmup_steps == 0 && model.warmup_proportion > 0;
      if (!falls && !warms_up) continue;
      checks_.add(concat("model.", role, falls ? ".lr_schedule" : ".warmup_proportion"),
                  "needs experiment.total_steps: with dynamic_sampling.enabled an epoch has no "
                  "known number of steps");
    }
  }

  void check_groups() {
    for (size_t i = 0; i < judging_.size(); ++i) {
      const graph::Call& call = job_.graph.calls()[i];
      if (!judging_[i] || call.kind != graph::CallKind::kGenerate) continue;
      check_group(call);
    }
  }

  /// Whether some rewards of so many answers are accepted.
  bool can_accept(int64_t size) const {
    if (!is_by_accuracy()) return size >= 2;
    for (int64_t right = 0; right <= size; ++right) {
      const double share = static_cast<double>(right) / static_cast<double>(size);
      if (config_.low < share && share < config_.high) return true;
    }
    return false;
  }

  std::string advice_on_size() const {
    constexpr int64_t kMost = 256;
    for (int64_t other = 2; other <= kMost; ++other) {
      if (!can_accept(other)) continue;
      return concat("write group_size = ", other,
                    is_by_accuracy() ? ", lower low or raise high" : " or more");
    }
    return "lower low or raise high";
  }

  void check_group(const graph::Call& call) {
    const std::string prefix = concat("call.", call.name, ".");
    const int64_t size = group_size_of(job_, call);
    if (!can_accept(size)) {
      checks_.add(prefix + "group_size",
                  concat("of ", base::counted(size, "answer"),
                         is_by_accuracy() ? concat(" no share lies between dynamic_sampling.low (",
                                                   config_.low, ") and high (", config_.high, ")")
                                          : std::string(" none differs from another"),
                         ": no group would ever be accepted; ", advice_on_size()));
      return;
    }
    const auto facts = algorithm::option_facts(*job_.experiment.find_call(call.name));
    if (!facts.greedy && facts.top_k != 1) return;
    checks_.add(prefix + (facts.greedy ? "greedy" : "top_k"),
                "all answers of a group are the same: dynamic sampling would never accept one");
  }

  /// What the first step cannot reach, with nothing carried over to it.
  void check_limit() {
    const auto& rule = options_.rule;
    const int64_t enough = (rule.batch_groups + rule.groups_per_round - 1) / rule.groups_per_round;
    if (rule.max_rounds == 0 || rule.max_rounds >= enough) return;
    const std::string text =
        concat("x groups_per_round, ", rule.max_rounds, " x ", rule.groups_per_round,
               ", is less than the ", rule.batch_groups, " groups of a step: ");
    if (rule.on_limit == master::OnLimit::kRefuse) {
      add("max_rounds", concat(text, "no step could ever be filled; write max_rounds = ", enough,
                               " or more, or a larger groups_per_round"));
    } else {
      checks_.warn(
          key_of("max_rounds"),
          concat(text, "it is filled in part only; max_rounds = ", enough, " would allow for all"));
    }
  }

  /// A bound that the rewards of the rule cannot pass.
  void check_spread() {
    if (is_by_accuracy()) return;
    const auto rewards = algorithm::possible_rewards(job_.experiment, options_.rewards);
    if (rewards.empty()) return;
    const double widest = double{rewards.back().value} - double{rewards.front().value};
    if (widest > config_.min_spread) return;
    add("min_spread", concat("is ", config_.min_spread, ", but rewards are ", rewards.front().value,
                             " (", rewards.front().keys, ") to ", rewards.back().value, " (",
                             rewards.back().keys, "): no group would ever be accepted; ",
                             widest > 0 ? concat("write less than ", widest)
                                        : std::string("give rewards that differ")));
  }

  /// Groups are judged by one key; what else the training adds to it is not seen.
  void check_other_rewards() {
    for (const graph::Call& call : job_.graph.calls()) {
      if (call.kind != graph::CallKind::kTrainStep) continue;
      for (const config::KeyBinding& input : call.inputs) {
        if (!input.interface_key.starts_with("rewards_")) continue;
        checks_.warn(key_of("rewards"),
                     concat("groups are accepted by ", options_.rewards, " alone, but call.",
                            call.name, " learns from ", input.graph_key,
                            " as well; a combined_reward gives one key of both"));
      }
    }
  }

  /// A rule that gives two rewards on the same side of the bound.
  void check_rewards() {
    const graph::Call& call = job_.graph.call(job_.graph.producer(options_.rewards));
    check_other_rewards();
    if (!is_by_accuracy()) return;
    if (call.interface == "combined_reward") {
      checks_.warn(key_of("correct_above"), concat("is compared with the weighted sum that call.",
                                                   call.name, " gives: an answer may be above ",
                                                   config_.correct_above, " by its form alone"));
    }
    const auto outcomes = algorithm::option_facts(*job_.experiment.find_call(call.name)).outcomes;
    if (!outcomes) return;
    const auto& [correct, wrong] = *outcomes;
    if (correct > config_.correct_above && wrong <= config_.correct_above) return;
    add("correct_above",
        concat("is ", config_.correct_above, ", but call.", call.name, " gives ", correct,
               " for a right answer and ", wrong,
               " for a wrong one: write a number from the second to below the first"));
  }

  const Job& job_;
  const config::DynamicSamplingConfig& config_;
  const config::DynamicSamplingConfig defaults_ = {};
  Checks& checks_;
  master::RefillOptions options_;
  std::vector<bool> judging_;
};

}  // namespace

std::optional<master::RefillOptions> refill_options(const Job& job) {
  const config::DynamicSamplingConfig& config = job.experiment.dynamic_sampling;
  if (!config.enabled) return std::nullopt;
  const int64_t batch = job.graph.size() == 0 ? 1 : job.graph.samples_per_step();
  const std::vector<bool> judging = master::judging_calls(job.graph, config.rewards);
  return master::RefillOptions{
      .rule = {.batch_groups = batch,
               .groups_per_round = config.groups_per_round > 0 ? config.groups_per_round : batch,
               .accept = {.metric = master::accept_metric_named(config.accept),
                          .correct_above = config.correct_above,
                          .low = config.low,
                          .high = config.high,
                          .min_spread = config.min_spread},
               .max_rounds = config.max_rounds,
               .on_limit = master::on_limit_named(config.on_limit),
               .surplus = master::surplus_named(config.surplus)},
      .rewards = config.rewards,
      .min_groups = fewest_groups(job, judging),
      .filter = {.after_answers = config.filter_after_answers,
                 .min_pass_rate = config.min_pass_rate,
                 .max_pass_rate = config.max_pass_rate,
                 .retry_after = config.retry_after,
                 .easy_first_steps = config.easy_first_steps,
                 .easy_first_from = config.easy_first_from}};
}

void check_dynamic_sampling(const Job& job, Checks& checks) {
  if (job.experiment.dynamic_sampling.enabled) return SamplingChecks(job, checks).run();
  for (const config::FieldInfo& field : config::schema_of_section(kSection)) {
    if (field.name == "enabled" || !job.experiment.positions.contains(key_of(field.name.c_str()))) {
      continue;
    }
    checks.warn(key_of(field.name.c_str()), "has no effect: dynamic_sampling.enabled is false");
  }
}

}  // namespace orrery::cli
