// Dynamic sampling as the dispatcher needs it: the rule (dynamic_sampling.h), which calls run for
// every round and which only for the full batch, which prompts come next, and what of all this a
// checkpoint must keep. A group is known by its birth, the number that the sequence buffer orders
// samples by. Pure; main thread of the master.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "orrery/base/index.h"
#include "orrery/data/batch_metadata.h"
#include "orrery/data/data_order.h"
#include "orrery/data/row_ref.h"
#include "orrery/graph/graph.h"
#include "orrery/master/dynamic_sampling.h"
#include "orrery/master/prompt_statistics.h"

namespace orrery::master {

struct RefillOptions {
  DynamicSamplingOptions rule = {};  ///< batch_groups: N, the samples of a step
  std::string rewards = "rewards";   ///< the graph's key that groups are judged by
  int64_t min_groups = 1;            ///< fewer accepted ones cannot be trained on
  PromptFilter filter = {};
};

/// A group that was carried over: its prompt and the metadata of its keys. Its tensors are in the
/// checkpoint files of the workers that held them.
struct CarriedGroup {
  data::RowRef prompt = {};
  std::vector<data::KeyMetadata> keys = {};    ///< of this one sample
  std::vector<int> owners = {};                ///< [keys] worker that wrote it to the checkpoint
  std::vector<std::vector<int>> holders = {};  ///< [keys] all that had it
  std::map<std::string, std::string> extra = {};

  template <class Archive>
  void serialize(Archive& archive) {
    archive(prompt, keys, owners, holders, extra);
  }
};

/// Prompts that were drawn and not loaded yet, and how many draws that took.
struct UpcomingPrompts {
  std::vector<data::RowRef> rows = {};
  int64_t draws = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(rows, draws);
  }
};

/// What survives a resume, besides MasterState.
struct RefillState {
  std::vector<CarriedGroup> carried = {};  ///< oldest first
  UpcomingPrompts upcoming = {};
  PromptStatistics prompts = {};
  int64_t epoch = 0;  ///< of the last step
  int64_t first_step_of_epoch = 0;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(carried, upcoming, prompts, epoch, first_step_of_epoch);
  }
};

/// The calls that run for every round: the one that writes the rewards and all that it depends on.
/// The others wait for the full batch. By call of the graph; all false when no call writes them.
std::vector<bool> judging_calls(const graph::Graph& graph, const std::string& rewards);

/// Why a graph cannot be sampled dynamically, by configuration key; empty: it can. Local.
std::vector<graph::GraphProblem> check_refill(const graph::Graph& graph,
                                              const RefillOptions& options);

class Refill {
 public:
  /// Throws ConfigError for rule options out of range or a graph that check_refill() refuses.
  Refill(const graph::Graph& graph, RefillOptions options);

  const RefillOptions& options() const { return options_; }
  int reward_call() const { return reward_call_; }
  bool is_judging(int call) const { return judging_[base::index(call)]; }
  const DynamicSampling& rule() const { return rule_; }

  /// A step begins. `steps_done`: before it.
  void begin_step(int64_t steps_done, data::DataOrder& order);
  /// Prompts of the next round; empty: the rule wants none or may have none. The prompts of the
  /// round after it are drawn then.
  std::vector<data::RowRef> next_round(data::DataOrder& order);
  const std::vector<data::RowRef>& upcoming() const { return upcoming_.rows; }

  /// The round's samples are there, in the order asked for.
  void note_loaded(const std::vector<data::RowRef>& prompts, int64_t first_birth);
  /// Samples that were loaded in this step.
  int64_t n_loaded() const { return n_loaded_; }
  /// Rewards of a group's answers; NaN: none.
  void note_rewards(int64_t birth, const std::vector<double>& rewards);
  /// Judges the round whose rewards are all there. Groups by birth.
  RoundResult judge_round();
  bool has_round() const { return !round_.empty(); }

  /// Ends the sampling of the step: the calls that wait may run.
  /// Throws CallError when on_limit refuses or too few groups are left to train on.
  const SampledStep& fill();
  bool is_full() const { return filled_.has_value(); }
  /// Of the step, once it is full.
  const SampledStep& filled() const { return *filled_; }
  /// Groups that the waiting calls get: as many as are accepted.
  int64_t batch_size() const;

  /// Groups that the step has accepted and those carried over are known; the others are forgotten.
  void end_step();
  const data::RowRef& prompt(int64_t birth) const { return prompts_of_.at(birth); }

  int64_t epoch() const { return epoch_; }
  int64_t first_step_of_epoch() const { return first_step_of_epoch_; }
  /// Draws of the data order up to the last round that was loaded.
  int64_t samples_drawn() const { return drawn_before_ + drawn_in_step_; }

  /// Without `carried`, which the dispatcher describes.
  RefillState state() const;
  /// `carried` are known by births 0, 1, ... from then on.
  void restore(const RefillState& state, const data::DataOrder& order);

 private:
  void draw(data::DataOrder& order);

  RefillOptions options_;
  DynamicSampling rule_;
  std::vector<bool> judging_;
  int reward_call_ = -1;
  PromptStatistics statistics_;
  UpcomingPrompts upcoming_;
  std::map<int64_t, data::RowRef> prompts_of_;  // by birth
  std::map<int64_t, std::vector<double>> rewards_of_;
  std::vector<int64_t> round_;  // births of the round that is not judged yet
  std::optional<SampledStep> filled_;
  int64_t steps_done_ = 0;
  int64_t n_loaded_ = 0;
  int64_t drawn_before_ = 0;   // this step
  int64_t drawn_in_step_ = 0;  // for rounds that were loaded
  int64_t epoch_ = 0;
  int64_t first_step_of_epoch_ = 0;
};

}  // namespace orrery::master
