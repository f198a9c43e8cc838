#include "evaluation_sets.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "orrery/algorithm/call_statistics.h"  // kDatasetOfSample
#include "orrery/algorithm/combined_reward.h"  // weighted_rewards
#include "orrery/algorithm/registry.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::worker {

struct EvaluationSets::Set {
  const config::EvaluationSet* config = nullptr;
  data::Dataset* dataset = nullptr;
  std::vector<std::unique_ptr<algorithm::Interface>> interfaces;
  std::vector<algorithm::EvaluationReward> rewards;
};

namespace {

/// The options of a reward's call. How many answers fail over 20 steps is a question of training.
std::vector<config::Option> options_of(const config::CallConfig& call) {
  constexpr const char* kOfSteps = "max_failed_share_20_steps";
  std::vector<config::Option> options = call.options;
  const config::Schema fields = algorithm::interface_schemas().at(call.interface);
  const bool has_it = std::any_of(fields.begin(), fields.end(), [](const config::FieldInfo& field) {
    return field.name == kOfSteps;
  });
  if (!has_it) return options;
  std::erase_if(options, [](const config::Option& option) { return option.name == kOfSteps; });
  options.push_back({kOfSteps, "1", {}});
  return options;
}

model::GenerationOptions sampling_of(const config::EvaluationSetConfig& options) {
  return {.max_new_tokens = options.max_new_tokens,
          .temperature = options.temperature,
          .top_p = options.top_p,
          .top_k = options.top_k > 0 ? options.top_k : model::kNoTopK,
          .group_size = options.samples,
          .max_batch = options.max_batch};
}

std::filesystem::path dump_file(const EvaluationPart& part, const config::EvaluationSet& set,
                                const std::filesystem::path& folder) {
  return folder / (set.name.empty() ? set.options.dataset : set.name) /
         base::concat(base::step_name(part.step), "-", part.call, "-rank-", part.data_rank,
                      ".jsonl");
}

}  // namespace

EvaluationSets::EvaluationSets(const config::Experiment& experiment,
                               const std::vector<std::unique_ptr<data::Dataset>>& datasets) {
  for (const config::EvaluationSet& config : experiment.evaluation_sets) {
    Set set{.config = &config, .dataset = nullptr, .interfaces = {}, .rewards = {}};
    for (size_t i = 0; i < experiment.datasets.size(); ++i) {
      if (experiment.datasets[i].first == config.options.dataset) set.dataset = datasets[i].get();
    }
    std::vector<algorithm::WeightedReward> rewards;
    if (!config.options.rewards.empty()) {
      rewards = std::get<0>(algorithm::weighted_rewards(config.options.rewards));
    }
    for (const algorithm::WeightedReward& reward : rewards) {
      const config::CallConfig& call = *experiment.find_call(reward.name);
      set.interfaces.push_back(algorithm::make_interface(call.interface, options_of(call)));
      set.rewards.push_back(
          {.name = reward.name, .weight = reward.weight, .interface = set.interfaces.back().get()});
    }
    sets_.push_back(std::move(set));
  }
}

EvaluationSets::~EvaluationSets() = default;

algorithm::EvaluationInput EvaluationSets::input(const EvaluationPart& part,
                                                 const std::filesystem::path& folder) {
  const auto found = std::find_if(sets_.begin(), sets_.end(), [&](const Set& set) {
    return set.config->name == part.set && set.dataset != nullptr;
  });
  if (found == sets_.end()) {
    throw CallError("an evaluation", {.expected = "a set of evaluate.sets",
                                      .got = part.set,
                                      .advice = "this is a fault of the master: report it"});
  }
  const config::EvaluationSetConfig& options = found->config->options;
  int64_t n_rows = found->dataset->n_rows();
  if (options.max_prompts > 0) n_rows = std::min(n_rows, options.max_prompts);
  std::vector<int64_t> rows;
  std::vector<data::SampleId> ids;
  for (int64_t row = part.data_rank; row < n_rows; row += part.data_size) {
    rows.push_back(row);
    ids.push_back({static_cast<uint64_t>(row)});  // whoever evaluates it draws the same noise
  }
  algorithm::EvaluationInput input{.batch = {},
                                   .set = part.set,
                                   .sampling = sampling_of(options),
                                   .match = {},
                                   .rewards = found->rewards,
                                   .correct_above = options.correct_above,
                                   .by = config::names_in(options.by)};
  if (options.match != "auto") input.match = algorithm::match_rule_named(options.match);
  if (options.dump_samples) input.dump = dump_file(part, *found->config, folder);
  if (rows.empty()) return input;
  input.batch = found->dataset->read(rows, ids);
  input.batch.meta.extra[algorithm::kDatasetOfSample].assign(
      rows.size(), base::concat('"', options.dataset, '"'));
  return input;
}

}  // namespace orrery::worker
