// What dynamic sampling may cost a step, for `orrery plan`.
#include <algorithm>
#include <array>
#include <cstdio>
#include <sstream>

#include "orrery/algorithm/generation.h"  // GenerateOptions
#include "orrery/base/counted.h"
#include "orrery/base/index.h"
#include "orrery/kernels/decode_attention.h"  // kPageTokens, page_size
#include "orrery/metrics/flops.h"
#include "orrery/model/parameter_table.h"
#include "sampling_options.h"

namespace orrery::cli {

namespace {

using base::concat;

/// A generate call that runs for every round, with the longest prompts and answers there can be.
struct RoundCost {
  std::string call;
  int64_t runs = 0;  ///< of the call
  int64_t answers = 0;
  int64_t pages = 0;  ///< of keys and values that are filled and given back, all layers and ranks
  int64_t page_bytes = 0;
  int64_t sample_bytes = 0;  ///< of what is kept of its answers
  metrics::Flops flops = 0;
};

int64_t pages_for(int64_t n_tokens) {
  return (n_tokens + kernels::kPageTokens - 1) / kernels::kPageTokens;
}

int64_t longest_prompt(const Job& job, int64_t max_positions) {
  int64_t longest = 0;
  for (const int place : job.training_places()) {
    longest =
        std::max(longest, job.experiment.datasets[base::index(place)].second.max_prompt_tokens);
  }
  return std::min(longest, max_positions);
}

RoundCost cost_of_round(const Job& job, const graph::Call& call, int64_t groups) {
  const auto options = config::parse_options<algorithm::GenerateOptions>(
      job.experiment.find_call(call.name)->options);
  const model::Architecture& a = job.architectures.at(call.role);
  const int64_t width = job.experiment.find_model(call.role)->dtype == "fp64" ? 8 : 4;
  const int64_t prompt = longest_prompt(job, a.max_positions);
  const int64_t answer = std::min(options.max_new_tokens, a.max_positions);
  RoundCost cost{
      .call = call.name, .runs = groups / call.n_seqs, .answers = groups * options.group_size};
  cost.pages =
      groups * pages_for(prompt) + cost.answers * pages_for(kernels::kPageTokens - 1 + answer);
  cost.page_bytes = a.n_layers * kernels::page_size(a.n_kv_heads, a.head_dim) * width;
  // Of each token its id, whether it is the prompt's, and two log-probabilities.
  cost.sample_bytes = cost.answers * (prompt + answer) * (8 + 1 + 2 * width);
  const std::vector<int64_t> prompts(static_cast<size_t>(cost.answers), prompt);
  cost.flops = metrics::generate_flops(a.flops_shape(), prompts, answer);
  return cost;
}

std::string operations_text(metrics::Flops flops) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3g", static_cast<double>(flops));
  return text.data();
}

/// Most rounds of a step: max_rounds, or one pass over the data; 0: the data was not read.
int64_t most_rounds(const Job& job, const master::RefillOptions& options) {
  const int64_t by_rule = options.rule.max_rounds;
  if (job.indices.empty()) return by_rule;
  const int64_t by_data = job.make_order().samples_per_epoch() / options.rule.groups_per_round;
  return by_rule > 0 ? std::min(by_rule, by_data) : by_data;
}

}  // namespace

std::string sampling_plan_text(const Job& job) {
  const std::optional<master::RefillOptions> options = refill_options(job);
  if (!options) return {};
  const std::vector<bool> judging = master::judging_calls(job.graph, options->rewards);
  std::vector<std::string> every_round, full_batch;
  for (size_t i = 0; i < judging.size(); ++i) {
    (judging[i] ? every_round : full_batch).push_back(job.graph.calls()[i].name);
  }
  const int64_t round = options->rule.groups_per_round;
  const int64_t rounds = most_rounds(job, *options);
  std::ostringstream out;
  out << "\ndynamic sampling\n  for every round of " << base::counted(round, "group") << ": "
      << base::join(every_round, ", ") << "; once " << options->rule.batch_groups
      << " are accepted: " << base::join(full_batch, ", ") << "\n  a step has "
      << (rounds > 0 ? concat("up to ", base::counted(rounds, "round"))
                     : std::string("as many rounds as the data has"))
      << "; up to " << base::counted(options->rule.batch_groups - 1 + round, "group")
      << " are held at once\n";
  for (size_t i = 0; i < judging.size(); ++i) {
    const graph::Call& call = job.graph.calls()[i];
    if (!judging[i] || call.interface != "generate" || !job.architectures.contains(call.role)) {
      continue;
    }
    const RoundCost cost = cost_of_round(job, call, round);
    const auto line = [&](const std::string& of, int64_t n) {
      out << "  " << of << ": " << base::counted(n * cost.runs, "run") << " of " << cost.call
          << ", " << base::counted(n * cost.answers, "answer") << ", up to "
          << base::counted(n * cost.pages, "page") << " of keys and values filled ("
          << base::bytes_text(n * cost.pages * cost.page_bytes)
          << " in all; each run gives its own back), up to "
          << operations_text(static_cast<metrics::Flops>(n) * cost.flops) << " operations\n";
    };
    line("one round", 1);
    if (rounds > 1) line(base::counted(rounds, "round"), rounds);
    const int64_t held = options->rule.batch_groups - 1 + round;
    out << "  held answers: up to " << base::bytes_text(cost.sample_bytes / round * held)
        << " over all workers\n";
  }
  if (rounds > 1) {
    out << "  time: generation and rewards of a step take up to " << rounds * round
        << " groups' worth, " << options->rule.batch_groups
        << " without dynamic sampling; all else stays as it is\n";
  }
  return std::move(out).str();
}

}  // namespace orrery::cli
