// Interface `generate`: prompts in, groups of sampled answers out.
#pragma once

#include <span>

#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/config/field.h"
#include "orrery/model/generator.h"

namespace orrery::algorithm {

struct GenerateOptions {
  int64_t group_size = 1;
  int64_t max_new_tokens = 256;
  int64_t min_new_tokens = 0;
  bool greedy = false;
  double temperature = 1;
  double top_p = 1;
  int64_t top_k = 0;
  bool stop_at_eos = true;
  int64_t max_batch = 256;
  int64_t max_cache_tokens = 0;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = GenerateOptions;
    field(&C::group_size, "group_size", "answers for each prompt", config::at_least(1));
    field(&C::max_new_tokens, "max_new_tokens", "longest answer, in tokens", config::at_least(1));
    field(&C::min_new_tokens, "min_new_tokens", "no end token before so many", config::at_least(0));
    field(&C::greedy, "greedy", "always the most likely token", config::anything());
    field(&C::temperature, "temperature", "divides the logits",
          config::in_range(model::kLowestTemperature, model::kHighestTemperature));
    field(&C::top_p, "top_p", "sample from the most likely tokens of this total probability",
          config::in_range(1e-9, 1));
    field(&C::top_k, "top_k", "sample from so many tokens; 0: all", config::at_least(0));
    field(&C::stop_at_eos, "stop_at_eos", "an end token ends the answer", config::anything());
    field(&C::max_batch, "max_batch", "sequences decoded at a time", config::at_least(1));
    field(&C::max_cache_tokens, "max_cache_tokens",
          "tokens of them whose keys and values have room at a time; where that is too little the "
          "youngest wait and are prefilled again, with the same answers; 0: all that could be "
          "needed, on GPUs at most what is left there",
          config::at_least(0).on_resume(config::Resume::kFree));
  }

  /// An answer that must be longer than it may be.
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

class Generate final : public Interface {
 public:
  explicit Generate(GenerateOptions options) : options_(options) {}

  /// In: packed_prompts [tokens] int64, one a sample. Out, group_size sequences a sample:
  /// packed_input_ids [T] int64, prompt_mask [T] bool, seq_no_eos_mask [N] bool, in the decoder's
  /// type packed_logprobs [A] of the policy at its temperature and sampling_logprobs [A] of the
  /// distribution drawn from, and, where the graph wants it, entropies [A] of the policy
  /// (model/generator.h).
  data::SequenceBatch generate(ModelContext& model, const data::SequenceBatch& input,
                               const CallContext& call) override;

 private:
  GenerateOptions options_;
};

/// The tokens that end an answer, as generation takes them.
std::vector<int64_t> stop_ids(const data::Tokenizer& tokenizer);

struct GeneratedBatch {
  data::SequenceBatch batch;     ///< of the keys above
  int64_t prefilled_tokens = 0;  ///< each prompt's once, however many answers it gets; again where
                                 ///< a sequence was preempted
  int64_t preemptions = 0;       ///< of sequences, for lack of room (max_cache_tokens)
};

/// Answers to `prompts` (a batch with packed_prompts). Ids that are no token of the model's
/// tokenizer are never drawn, whatever options.never_ids is. `watchers` are told of each answer
/// when it is finished.
GeneratedBatch generate_batch(ModelContext& model, const data::SequenceBatch& prompts,
                              model::GenerationOptions options, uint64_t seed, int64_t step,
                              std::span<AnswerWatcher* const> watchers = {});

}  // namespace orrery::algorithm
