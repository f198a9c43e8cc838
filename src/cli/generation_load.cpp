#include "generation_load.h"

#include <algorithm>

#include "orrery/algorithm/generation.h"    // GenerateOptions
#include "orrery/algorithm/judge_reward.h"  // JudgeRewardOptions
#include "orrery/base/index.h"
#include "orrery/kernels/decode_attention.h"  // kPageTokens, page_size

namespace orrery::cli {

namespace {

int64_t pages_for(int64_t n_tokens) { return divide_up(n_tokens, kernels::kPageTokens); }

int64_t longest_prompt_of(const Job& job) {
  int64_t longest = 0;
  for (const int place : job.training_places()) {
    longest =
        std::max(longest, job.experiment.datasets[base::index(place)].second.max_prompt_tokens);
  }
  return longest;
}

/// A text for each answer, as long as the judge's positions allow.
GenerationLoad load_of_judge(const Job& job, const graph::Call& call) {
  const auto options = config::parse_options<algorithm::JudgeRewardOptions>(
      job.experiment.find_call(call.name)->options);
  int64_t answers = 1;
  for (const graph::Call& other : job.graph.calls()) {
    if (other.interface != "generate") continue;
    answers = config::parse_options<algorithm::GenerateOptions>(
                  job.experiment.find_call(other.name)->options)
                  .group_size;
  }
  const auto judge = job.architectures.find(call.role);
  return {.n_prompts = divide_up(call.n_seqs, call.layout.data) * answers,
          .group_size = 1,
          .max_batch = options.max_batch,
          .max_prompt_tokens = judge == job.architectures.end() ? longest_prompt_of(job)
                                                                : judge->second.max_positions,
          .max_new_tokens = options.max_new_tokens};
}

}  // namespace

GenerationLoad GenerationLoad::of_one_sequence() const {
  return {.n_prompts = 1,
          .group_size = 1,
          .max_batch = 1,
          .max_prompt_tokens = max_prompt_tokens,
          .max_new_tokens = max_new_tokens};
}

std::optional<GenerationLoad> generation_load_of(const Job& job, const graph::Call& call) {
  if (call.interface == "judge_reward") return load_of_judge(job, call);
  if (call.interface != "generate") return std::nullopt;
  const auto options = config::parse_options<algorithm::GenerateOptions>(
      job.experiment.find_call(call.name)->options);
  return GenerationLoad{.n_prompts = divide_up(call.n_seqs, call.layout.data),
                        .group_size = options.group_size,
                        .max_batch = options.max_batch,
                        .max_cache_tokens = options.max_cache_tokens,
                        .max_prompt_tokens = longest_prompt_of(job),
                        .max_new_tokens = options.max_new_tokens};
}

GenerationLoad longest_load_of(const Job& job) {
  GenerationLoad longest{.max_prompt_tokens = longest_prompt_of(job)};
  bool generates = false;
  for (const graph::Call& call : job.graph.calls()) {
    if (call.interface != "generate") continue;  // what a judge writes is nobody's to read
    const auto load = generation_load_of(job, call);
    generates = true;
    longest.max_new_tokens = std::max(longest.max_new_tokens, load->max_new_tokens);
    longest.group_size = std::max(longest.group_size, load->group_size);
  }
  if (generates) return longest;
  for (const int place : job.training_places()) {
    longest.max_new_tokens = std::max(
        longest.max_new_tokens, job.experiment.datasets[base::index(place)].second.max_tokens);
  }
  return longest;
}

int64_t page_count(int64_t max_positions, const GenerationLoad& load) {
  const int64_t prompt = std::min(load.max_prompt_tokens, max_positions);
  const int64_t answer = std::min(load.max_new_tokens, max_positions);
  const int64_t places = std::min(load.max_batch, load.n_prompts * load.group_size);
  const int64_t own = places * pages_for(kernels::kPageTokens - 1 + answer);
  const int64_t shared = std::min(load.n_prompts, 2 * places + 1) * pages_for(prompt);
  int64_t pages = own + shared;
  if (load.max_cache_tokens > 0) {
    pages = std::min(pages, load.max_cache_tokens / kernels::kPageTokens);
  }
  return pages;
}

int64_t page_numbers(const model::Architecture& architecture, const GenerationLoad& load) {
  return page_count(architecture.max_positions, load) * architecture.n_layers *
         kernels::page_size(architecture.n_kv_heads, architecture.head_dim);
}

}  // namespace orrery::cli
