#include "orrery/algorithm/call_statistics.h"

#include <ATen/ATen.h>

#include <algorithm>  // all_of, count
#include <cmath>
#include <vector>

#include "orrery/base/json.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

/// `dataset/NAME/` of each sample; empty where it does not say.
std::vector<std::string> dataset_prefixes(const data::SequenceBatch& input) {
  std::vector<std::string> prefixes(input.size());
  const auto texts = input.meta.extra.find(kDatasetOfSample);
  if (texts == input.meta.extra.end()) return prefixes;
  for (size_t i = 0; i < prefixes.size(); ++i) {
    const nlohmann::json name = base::parse_json(texts->second[i]).value;
    if (name.is_string()) prefixes[i] = base::concat("dataset/", name.get<std::string>(), "/");
  }
  return prefixes;
}

void record_rewards(metrics::Statistics& statistics, const data::SequenceBatch& output,
                    const std::vector<std::string>& prefixes) {
  const at::Tensor rewards = output.at("rewards").to(at::kDouble).contiguous();
  const double* reward = rewards.const_data_ptr<double>();
  const data::NestedLengths& lengths = output.meta.at("rewards").lengths;
  for (size_t i = 0; i < output.size(); ++i) {
    std::vector<double> group;
    for (int64_t k = 0; k < lengths.total(i); ++k, ++reward) {
      if (std::isnan(*reward)) continue;
      group.push_back(*reward);
      statistics.deviation("reward_std", *reward);
      if (!prefixes[i].empty()) statistics.mean(prefixes[i] + "reward", *reward, 1);
    }
    if (group.size() < 2) continue;
    const bool is_uniform = std::all_of(group.begin(), group.end(),
                                        [&](double other) { return other == group.front(); });
    statistics.mean("uniform_group_ratio", is_uniform ? 1 : 0, 1);
  }
}

void record_answers(metrics::Statistics& statistics, const data::SequenceBatch& output,
                    const std::vector<std::string>& prefixes) {
  const data::NestedLengths& lengths = output.meta.at("packed_input_ids").lengths;
  const at::Tensor is_prompt = output.at("prompt_mask").to(at::kBool).contiguous();
  const at::Tensor no_eos = output.at("seq_no_eos_mask").to(at::kBool).contiguous();
  const bool* prompt = is_prompt.const_data_ptr<bool>();
  const bool* is_cut = no_eos.const_data_ptr<bool>();
  for (size_t i = 0; i < output.size(); ++i) {
    for (const int32_t n : lengths.of(i)) {
      const auto n_prompt = std::count(prompt, prompt + n, true);
      if (!prefixes[i].empty()) {
        statistics.mean(prefixes[i] + "prompt_length", static_cast<double>(n_prompt), 1);
        statistics.mean(prefixes[i] + "response_length", static_cast<double>(n - n_prompt), 1);
        statistics.mean(prefixes[i] + "no_eos_ratio", *is_cut ? 1 : 0, 1);
      }
      prompt += n;
      ++is_cut;
    }
  }
}

}  // namespace

metrics::Statistics call_statistics(const data::SequenceBatch& input,
                                    const data::SequenceBatch& output) {
  metrics::Statistics statistics;
  const std::vector<std::string> prefixes = dataset_prefixes(input);
  if (output.has_data("rewards")) record_rewards(statistics, output, prefixes);
  const bool wrote_answers = output.has_data("packed_input_ids") &&
                             output.has_data("prompt_mask") && output.has_data("seq_no_eos_mask");
  if (wrote_answers) record_answers(statistics, output, prefixes);
  if (const data::KeyMetadata* read = input.meta.find("packed_input_ids")) {
    statistics.sum("n_tokens", static_cast<double>(read->lengths.grand_total()));
  }
  return statistics;
}

}  // namespace orrery::algorithm
