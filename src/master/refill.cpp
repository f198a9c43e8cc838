#include "orrery/master/refill.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::master {

namespace {

using base::concat;

/// What a graph must be like for the rule; problems by configuration key.
class GraphCheck {
 public:
  GraphCheck(const graph::Graph& graph, const RefillOptions& options)
      : graph_(graph), options_(options), judging_(judging_calls(graph, options.rewards)) {}

  std::vector<graph::GraphProblem> run() {
    if (graph_.producer(options_.rewards) < 0) {
      add("dynamic_sampling.rewards",
          concat("no call writes the key ", options_.rewards,
                 "; name the output of the call that gives the rewards"));
      return std::move(problems_);
    }
    const graph::Call& judge = graph_.call(graph_.producer(options_.rewards));
    const config::KeyBinding* rewards = config::find_binding(judge.outputs, "rewards");
    if (rewards == nullptr || rewards->graph_key != options_.rewards) {
      add("dynamic_sampling.rewards",
          concat(options_.rewards, " of call.", judge.name,
                 " is no reward of answers; name the key that a call writes as its rewards"));
      return std::move(problems_);
    }
    check_round();
    check_batch();
    return std::move(problems_);
  }

 private:
  void add(std::string key, std::string text) {
    problems_.push_back({.key = std::move(key), .text = std::move(text)});
  }

  void check_round() {
    const int64_t round = options_.rule.groups_per_round;
    bool generates = false;
    for (int i = 0; i < graph_.size(); ++i) {
      if (!judging_[base::index(i)]) continue;
      const graph::Call& call = graph_.call(i);
      generates = generates || call.kind == graph::CallKind::kGenerate;
      if (round % call.n_seqs == 0) continue;
      add("dynamic_sampling.groups_per_round",
          concat("a round of ", base::counted(round, "group"), " is no multiple of call.",
                 call.name, ".n_seqs (", call.n_seqs, "), which runs for every round"));
    }
    if (!generates) {
      add("dynamic_sampling.rewards",
          concat("the call that writes ", options_.rewards,
                 " depends on no generate call: there is nothing to draw again"));
    }
  }

  void check_batch() {
    bool any_waits = false;
    for (int i = 0; i < graph_.size(); ++i) {
      if (judging_[base::index(i)]) continue;
      const graph::Call& call = graph_.call(i);
      any_waits = any_waits || call.kind == graph::CallKind::kTrainStep;
      const bool takes_all = call.n_seqs == options_.rule.batch_groups;
      if (takes_all || options_.rule.on_limit == OnLimit::kRefuse) continue;
      add("dynamic_sampling.on_limit",
          concat("use_partial needs calls that take a whole step at once: call.", call.name,
                 ".n_seqs is ", call.n_seqs, ", write ", options_.rule.batch_groups));
    }
    if (!any_waits) {
      add("dynamic_sampling.enabled", "no call trains on what is sampled; write enabled = false");
    }
  }

  const graph::Graph& graph_;
  const RefillOptions& options_;
  std::vector<bool> judging_;
  std::vector<graph::GraphProblem> problems_;
};

}  // namespace

std::vector<bool> judging_calls(const graph::Graph& graph, const std::string& rewards) {
  std::vector<bool> judging(base::index(graph.size()));
  std::vector<int> open = {graph.producer(rewards)};
  while (!open.empty()) {
    const int call = open.back();
    open.pop_back();
    if (call < 0 || judging[base::index(call)]) continue;
    judging[base::index(call)] = true;
    const std::vector<int>& parents = graph.parents(call);
    open.insert(open.end(), parents.begin(), parents.end());
  }
  return judging;
}

std::vector<graph::GraphProblem> check_refill(const graph::Graph& graph,
                                              const RefillOptions& options) {
  return GraphCheck(graph, options).run();
}

Refill::Refill(const graph::Graph& graph, RefillOptions options)
    : options_(std::move(options)),
      rule_(options_.rule),
      judging_(judging_calls(graph, options_.rewards)),
      reward_call_(graph.producer(options_.rewards)) {
  const std::vector<graph::GraphProblem> problems = check_refill(graph, options_);
  if (problems.empty()) return;
  throw ConfigError(concat(problems.front().key, ": ", problems.front().text));
}

void Refill::draw(data::DataOrder& order) {
  const auto wanted = static_cast<size_t>(options_.rule.groups_per_round);
  // One pass over the data without enough prompts: there are no others.
  while (upcoming_.rows.size() < wanted && upcoming_.draws < order.samples_per_epoch()) {
    const data::RowRef row = order.next(1).front();
    ++upcoming_.draws;
    if (statistics_.draws(row, options_.filter, steps_done_)) upcoming_.rows.push_back(row);
  }
}

void Refill::begin_step(int64_t steps_done, data::DataOrder& order) {
  steps_done_ = steps_done;
  rule_.begin_step();
  filled_.reset();
  n_loaded_ = 0;
  drawn_before_ += std::exchange(drawn_in_step_, 0);
  const int64_t epoch = drawn_before_ / order.samples_per_epoch();
  if (epoch != std::exchange(epoch_, epoch)) first_step_of_epoch_ = steps_done;
  // What one pass did not find, another may: prompts that were passed over are tried again.
  if (upcoming_.rows.size() < static_cast<size_t>(options_.rule.groups_per_round)) {
    drawn_before_ += std::exchange(upcoming_.draws, 0);
    draw(order);
  }
}

std::vector<data::RowRef> Refill::next_round(data::DataOrder& order) {
  const int64_t size = options_.rule.groups_per_round;
  // A step goes over the data once at most: what nobody solved will not be solved now.
  const bool has_enough = std::ssize(upcoming_.rows) == size &&
                          drawn_in_step_ + upcoming_.draws <= order.samples_per_epoch();
  if (rule_.next_round(has_enough ? size : 0) == 0) return {};
  drawn_in_step_ += upcoming_.draws;
  std::vector<data::RowRef> rows = std::move(upcoming_.rows);
  upcoming_ = {};
  draw(order);
  return rows;
}

void Refill::note_loaded(const std::vector<data::RowRef>& prompts, int64_t first_birth) {
  for (const data::RowRef& prompt : prompts) {
    prompts_of_[first_birth] = prompt;
    round_.push_back(first_birth++);
  }
  n_loaded_ += std::ssize(prompts);
}

void Refill::note_rewards(int64_t birth, const std::vector<double>& rewards) {
  std::vector<double>& kept = rewards_of_[birth];
  kept.clear();
  for (const double reward : rewards) {
    if (!std::isnan(reward)) kept.push_back(reward);  // left out
  }
}

RoundResult Refill::judge_round() {
  std::vector<JudgedGroup> round;
  for (const int64_t birth : round_) {
    const auto rewards = rewards_of_.find(birth);
    if (rewards == rewards_of_.end()) {
      throw CallError("dynamic sampling: a group has no rewards",
                      {.expected = concat("the values of ", options_.rewards, " of each sample"),
                       .got = "none from the worker",
                       .advice = "all workers must run this version"});
    }
    round.push_back({.group = birth, .rewards = rewards->second});
  }
  RoundResult result = rule_.judge(round);
  const double correct_above = options_.rule.accept.correct_above;
  for (const JudgedGroup& judged : round) {
    const bool is_accepted =
        std::binary_search(result.accepted.begin(), result.accepted.end(), judged.group);
    statistics_.note(prompts_of_.at(judged.group), judged.rewards, correct_above, is_accepted);
  }
  for (const int64_t birth : result.rejected) prompts_of_.erase(birth);
  rewards_of_.clear();
  round_.clear();
  return result;
}

const SampledStep& Refill::fill() {
  filled_ = rule_.finish_step();
  for (const int64_t birth : filled_->discarded) prompts_of_.erase(birth);
  if (batch_size() < options_.min_groups) {
    throw CallError(
        concat("dynamic sampling: too few groups of step ", steps_done_ + 1, " are accepted"),
        {.expected = concat("at least ", options_.min_groups,
                            ", so that every data rank and minibatch has one"),
         .got = concat(batch_size(), " of ", filled_->generated_groups, " generated"),
         .advice = "accept more (low, high, min_spread), allow more rounds (max_rounds), or give "
                   "other prompts"});
  }
  return *filled_;
}

int64_t Refill::batch_size() const {
  return filled_ ? std::ssize(filled_->accepted) : options_.rule.batch_groups;
}

void Refill::end_step() {
  for (const int64_t birth : filled_->accepted) prompts_of_.erase(birth);
}

RefillState Refill::state() const {
  return {.carried = {},
          .upcoming = upcoming_,
          .prompts = statistics_,
          .epoch = epoch_,
          .first_step_of_epoch = first_step_of_epoch_};
}

void Refill::restore(const RefillState& state, const data::DataOrder& order) {
  upcoming_ = state.upcoming;
  statistics_ = state.prompts;
  epoch_ = state.epoch;
  first_step_of_epoch_ = state.first_step_of_epoch;
  drawn_before_ = order.samples_drawn() - upcoming_.draws;
  std::vector<int64_t> births;
  for (const CarriedGroup& group : state.carried) {
    const int64_t birth = std::ssize(births);
    prompts_of_[birth] = group.prompt;
    births.push_back(birth);
  }
  rule_.restore_carried(std::move(births));
}

}  // namespace orrery::master
