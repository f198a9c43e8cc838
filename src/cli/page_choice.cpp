#include "page_choice.h"

#include <algorithm>

#include "generation_load.h"
#include "orrery/algorithm/generation.h"  // GenerateOptions
#include "orrery/base/text.h"
#include "orrery/kernels/decode_attention.h"  // kPageTokens
#include "orrery/model/generator.h"           // least_cache_tokens

namespace orrery::cli {

namespace {

constexpr const char* kKey = "max_cache_tokens";

/// Pages of one worker that a call may have, and what they would take in every place.
struct Room {
  int64_t pages = 0;
  double bytes = 0;
  double wanted_bytes = 0;
};

Room room_of(const PhaseMemory& phase, int64_t n_pages, const Job& job, const GpuMemory& gpu) {
  const double others = static_cast<double>(phase.of_the_program() - phase.pages);
  const double lost = gpu.allowances.sum(job.n_workers) * kGb;
  const double left = gpu.memory_gb * kGb * (1 - kPageReserve) - lost - others;
  const double page = static_cast<double>(phase.pages) / static_cast<double>(n_pages);
  return {.pages = static_cast<int64_t>(std::max(left, 0.0) / page),
          .bytes = left,
          .wanted_bytes = static_cast<double>(phase.pages)};
}

void set_tokens(Job& job, const std::string& call, int64_t n_tokens) {
  for (auto& [name, config] : job.experiment.calls) {
    if (name != call) continue;
    std::erase_if(config.options, [](const config::Option& option) { return option.name == kKey; });
    config.options.push_back({.name = kKey, .value = std::to_string(n_tokens), .where = {}});
  }
}

}  // namespace

std::string PageChoice::text() const {
  return base::concat("call.", call, ".", kKey, " = ", max_cache_tokens, " (auto): ", reason);
}

std::vector<PageChoice> choose_pages(Job& job, const GpuMemory& gpu) {
  std::vector<PageChoice> choices;
  const std::vector<std::vector<PhaseMemory>> workers = plan_gpu_memory(job);
  for (const graph::Call& call : job.graph.calls()) {
    const auto architecture = job.architectures.find(call.role);
    if (call.interface != "generate" || architecture == job.architectures.end()) continue;
    const GenerationLoad load = *generation_load_of(job, call);
    if (load.max_cache_tokens > 0) continue;
    const int64_t positions = architecture->second.max_positions;
    const int64_t n_pages = page_count(positions, load);
    Room least{.pages = n_pages};
    for (const std::vector<PhaseMemory>& phases : workers) {
      for (const PhaseMemory& phase : phases) {
        if (phase.phase != call.name || phase.pages == 0) continue;
        const Room room = room_of(phase, n_pages, job, gpu);
        if (room.pages < least.pages) least = room;
      }
    }
    if (least.pages >= n_pages) continue;
    const int64_t prompt = std::min(load.max_prompt_tokens, positions);
    const int64_t one_sequence =
        model::least_cache_tokens(prompt, std::min(prompt + load.max_new_tokens, positions));
    const int64_t n_tokens = std::max(least.pages * kernels::kPageTokens, one_sequence);
    set_tokens(job, call.name, n_tokens);
    choices.push_back({.call = call.name,
                       .max_cache_tokens = n_tokens,
                       .reason = base::concat(
                           "beside all else ", gb(std::max(least.bytes, 0.0)), " GB of ",
                           gpu.memory_gb, " are left for keys and values, ", kPageReserve * 100,
                           " % kept back; the longest prompts and answers in every place would "
                           "take ",
                           gb(least.wanted_bytes), " GB")});
  }
  return choices;
}

}  // namespace orrery::cli
