// [evaluate] and its sets: when models are evaluated, on what, and what is measured. One field list
// for what every set has: [evaluate.X] states it for the set X, [evaluate] for all that do not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/config/dataset_kind.h"
#include "orrery/config/field.h"

namespace orrery::config {

/// Names by commas: `math500, aime`; empty text: none.
std::vector<std::string> names_in(std::string_view text);
/// Integers by commas: `1, 4, 8`. The text has passed whole_numbers().
std::vector<int64_t> numbers_in(std::string_view text);
/// A list of names or of integers from 1 on, each once.
Check list_of_names();
Check whole_numbers();

/// What an evaluation set asks for.
struct EvaluationSetConfig {
  static constexpr Resume kOnResume = Resume::kFree;

  std::string dataset;
  int64_t samples = 1;
  std::string k;
  std::string subset = "first_k";
  std::string tie = "first_seen";
  double temperature = 0;
  double top_p = 1;
  int64_t top_k = 0;
  int64_t max_new_tokens = 32;
  int64_t max_batch = 256;
  int64_t max_prompts = 0;
  std::string match = "auto";
  std::string rewards;
  double correct_above = 0;
  std::string by;
  bool dump_samples = true;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = EvaluationSetConfig;
    field(&C::dataset, "dataset",
          "name of a [dataset.X] section; empty: no evaluation, and for a set of evaluate.sets the "
          "one that has the set's name",
          anything());
    field(&C::samples, "samples", "answers for each prompt", in_range(1, 4096));
    field(&C::k, "k",
          "of pass@k, avg@k and maj@k, by commas; empty: 1 and samples, if samples is above 1",
          whole_numbers());
    field(&C::subset, "subset",
          "answers that avg@k and maj@k look at: the first k, or the mean over all sets of k",
          one_of({"first_k", "all_subsets"}));
    field(&C::tie, "tie",
          "maj@k where answers have equally many votes: the one that came first, or the share of "
          "them that are right",
          one_of({"first_seen", "fractional"}));
    field(&C::temperature, "temperature", "divides the logits; 0: always the most likely token",
          zero_or_in_range(1e-6, 1e6));
    field(&C::top_p, "top_p", "sample from the most likely tokens of this total probability",
          in_range(1e-9, 1));
    field(&C::top_k, "top_k", "sample from so many tokens; 0: all", at_least(0));
    field(&C::max_new_tokens, "max_new_tokens", "longest answer, in tokens", at_least(1));
    field(&C::max_batch, "max_batch",
          "sequences decoded at a time; the answers do not depend on it", at_least(1));
    field(&C::max_prompts, "max_prompts", "use the first so many records; 0: all", at_least(0));
    field(&C::match, "match",
          "rule by which an answer is right; auto: by its reward where there are rewards, else the "
          "rule of the call that trains",
          one_of({"auto", "exact", "numeric", "math"}));
    field(&C::rewards, "rewards",
          "[call.X] sections that reward the answers, each with its weight in the sum, as of a "
          "combined_reward: judge:1.0, format:0.2; a section with enabled = false is for this "
          "alone",
          anything());
    field(&C::correct_above, "correct_above",
          "without match: an answer with a reward above it is right", in_range(-1e30, 1e30));
    field(&C::by, "by",
          "fields of the records, by commas: metrics for each of their values as well",
          list_of_names());
    field(&C::dump_samples, "dump_samples",
          "write prompts, answers and what was made of them to evaluations/SET/", anything());
  }
};

struct EvaluateConfig : EvaluationSetConfig {
  std::string sets;
  int64_t every_steps = 0;
  int64_t every_epochs = 0;
  double every_seconds = 0;
  bool at_start = true;
  bool at_end = true;
  double stop_at_accuracy = 0;
  std::string keep_best;
  int64_t stop_after = 0;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = EvaluateConfig;
    field(&C::sets, "sets",
          "names of evaluation sets, by commas, each with a section [evaluate.X] or a "
          "[dataset.X] of its name; empty: `dataset` is the only one",
          list_of_names());
    EvaluationSetConfig::visit_fields(field);
    field(&C::every_steps, "every_steps", "evaluate after so many steps; 0: never", at_least(0));
    field(&C::every_epochs, "every_epochs", "evaluate after so many epochs; 0: never", at_least(0));
    field(&C::every_seconds, "every_seconds", "evaluate after so many seconds; 0: never",
          at_least(0));
    field(&C::at_start, "at_start", "also before the first step", anything());
    field(&C::at_end, "at_end", "also after the last step", anything());
    field(&C::stop_at_accuracy, "stop_at_accuracy",
          "end the run once an evaluation (of the first set) is right so often; 0: never",
          in_range(0, 1));
    field(&C::keep_best, "keep_best",
          "export the models whenever this metric is better than ever, and keep that export as "
          "models/best: SET/METRIC, such as math500/pass@8; METRIC alone without sets; empty: "
          "never",
          anything());
    field(&C::stop_after, "stop_after",
          "end the run when that metric has not been better for so many evaluations; 0: never",
          at_least(0));
  }
};

/// A set as it is evaluated: what [evaluate] says of all sets is in `options`.
struct EvaluationSet {
  std::string name;  ///< empty: the only one, of a configuration without evaluate.sets
  EvaluationSetConfig options;

  /// In front of its metrics: `eval/` or `eval/math500/`.
  std::string metric_prefix() const;
  /// The values of k that are measured.
  std::vector<int64_t> k_values() const;
  /// Whether maj@k is measured: a rule reads the answers.
  bool counts_votes() const { return options.match != "auto" || options.rewards.empty(); }
  /// Names of the rewards, without weights: judge, format.
  std::vector<std::string> reward_names() const;
  /// Of a data set of that kind, the metrics that keep_best may name; those of `by` apart.
  std::vector<std::string> metrics_to_keep(std::optional<DatasetKind> kind) const;
};

/// What keep_best names. Example: {.set = "math500", .metric = "pass@8"}
struct BestMetric {
  std::string set;
  std::string metric;
  /// A loss falls, everything else rises.
  bool falls() const { return metric == "loss" || metric.ends_with("/loss"); }
};

/// Empty text: nothing.
std::optional<BestMetric> best_metric_in(const EvaluateConfig& evaluate);

}  // namespace orrery::config
