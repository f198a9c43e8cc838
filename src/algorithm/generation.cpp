#include "orrery/algorithm/generation.h"

#include <algorithm>  // find
#include <span>
#include <utility>  // move
#include <vector>

#include "orrery/algorithm/log_probs.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

/// Tells `watchers` of the answers to `prompts`; both must outlive it.
model::GenerationListener listener_for(std::span<AnswerWatcher* const> watchers,
                                       const model::PackedTokens& prompts, int64_t group_size) {
  if (watchers.empty()) return {};
  const auto finished = [watchers, &prompts, group_size](int64_t sequence,
                                                         const model::GeneratedSequence& answer) {
    const auto sample = static_cast<size_t>(sequence / group_size);
    const int64_t begin = prompts.cu_seqlens[sample];
    const auto n_prompt = static_cast<size_t>(prompts.cu_seqlens[sample + 1] - begin);
    const int64_t* const prompt = prompts.tokens.const_data_ptr<int64_t>() + begin;
    std::vector<int32_t> tokens(prompt, prompt + n_prompt);
    tokens.insert(tokens.end(), answer.tokens.begin(), answer.tokens.end());
    for (AnswerWatcher* const watcher : watchers) {
      watcher->finished(sample, static_cast<int>(sequence % group_size), tokens, n_prompt);
    }
  };
  const auto between_tokens = [watchers] {
    for (AnswerWatcher* const watcher : watchers) watcher->advance();
  };
  return {.finished = finished, .between_tokens = between_tokens};
}

bool wants(const CallContext& call, const char* key) {
  return std::find(call.outputs.begin(), call.outputs.end(), key) != call.outputs.end();
}

}  // namespace

GeneratedBatch generate_batch(ModelContext& model, const data::SequenceBatch& prompts,
                              model::GenerationOptions options, uint64_t seed, int64_t step,
                              std::span<AnswerWatcher* const> watchers) {
  if (model.tokenizer != nullptr) {
    options.never_ids =
        data::ids_without_token(*model.tokenizer, model.decoder->architecture().vocab_size);
  }
  const data::NestedLengths& prompt_lengths = prompts.meta.at("packed_prompts").lengths;
  const model::PackedTokens packed =
      model::pack_tokens(prompts.at("packed_prompts"), prompt_lengths.flat());
  std::vector<model::SamplingKey> keys;
  for (const data::SampleId id : prompts.meta.ids) {
    keys.push_back({.seed = seed, .step = static_cast<uint64_t>(step), .sample = id.value});
  }
  const model::GenerationResult result =
      model::Generator(*model.decoder)
          .generate(packed, keys, options, listener_for(watchers, packed, options.group_size));
  model::PackedGeneration generated =
      model::pack_generation(packed, result, options.group_size, model.decoder->dtype());

  const auto group = static_cast<size_t>(options.group_size);
  data::NestedLengths tokens, actions, ones;
  std::vector<int32_t> shorter(group);
  const std::vector<int32_t> single(group, 1);
  for (size_t i = 0; i < prompts.size(); ++i) {
    const std::span<const int32_t> own(generated.lengths.data() + i * group, group);
    for (size_t m = 0; m < group; ++m) shorter[m] = own[m] - 1;
    tokens.add_sample(own);
    actions.add_sample(shorter);
    ones.add_sample(single);
  }
  if (model.is_dp_head) check_finite(generated.packed_logprobs, "log-probabilities of its answers");
  data::SequenceBatch batch;
  batch.meta.ids = prompts.meta.ids;
  batch.set("packed_input_ids", generated.packed_input_ids, tokens);
  batch.set("prompt_mask", generated.prompt_mask, tokens);
  batch.set("packed_logprobs", generated.packed_logprobs, actions);
  batch.set("sampling_logprobs", generated.sampling_logprobs, actions);
  if (generated.entropies.defined()) batch.set("entropies", generated.entropies, actions);
  // The weights that generate in a step are those that all steps before it have made.
  batch.set("versions", at::full({actions.grand_total()}, step - 1, at::kLong), actions);
  batch.set("seq_no_eos_mask", generated.seq_no_eos_mask, ones);
  return {.batch = std::move(batch),
          .prefilled_tokens = result.prefilled_tokens,
          .preemptions = result.preemptions};
}

std::vector<int64_t> stop_ids(const data::Tokenizer& tokenizer) {
  const std::vector<int32_t> ids = tokenizer.eos_ids();
  return {ids.begin(), ids.end()};
}

std::vector<OptionProblem> GenerateOptions::problems(const config::CallConfig&) const {
  if (min_new_tokens <= max_new_tokens) return {};
  return {{"min_new_tokens", base::concat("is ", min_new_tokens, ", more than max_new_tokens (",
                                          max_new_tokens, "): lower it or raise max_new_tokens")}};
}

data::SequenceBatch Generate::generate(ModelContext& model, const data::SequenceBatch& input,
                                       const CallContext& call) {
  model::GenerationOptions options{.max_new_tokens = options_.max_new_tokens,
                                   .min_new_tokens = options_.min_new_tokens,
                                   .temperature = options_.temperature,
                                   .top_p = options_.top_p,
                                   .top_k = options_.top_k > 0 ? options_.top_k : model::kNoTopK,
                                   .greedy = options_.greedy,
                                   .group_size = options_.group_size,
                                   .stop_ids = {},
                                   .max_batch = options_.max_batch,
                                   .max_cache_tokens = options_.max_cache_tokens,
                                   .measure_entropy = wants(call, "entropies")};
  if (options_.stop_at_eos) options.stop_ids = stop_ids(*model.tokenizer);
  GeneratedBatch generated =
      generate_batch(model, input, options, call.seed, call.step, call.watchers);
  data::SequenceBatch output = std::move(generated.batch);

  const auto n = static_cast<double>(output.meta.at("packed_input_ids").lengths.n_sequences());
  const auto prompts = static_cast<double>(input.meta.at("packed_prompts").lengths.grand_total() *
                                           options_.group_size);
  const auto all = static_cast<double>(output.meta.at("packed_input_ids").lengths.grand_total());
  statistics_.sum("n_tokens", all);
  statistics_.sum("generated_tokens", all - prompts);
  statistics_.mean("prompt_length", prompts, n);
  statistics_.mean("response_length", all - prompts, n);
  statistics_.sum("preemptions", static_cast<double>(generated.preemptions));
  statistics_.mean("no_eos_ratio", output.at("seq_no_eos_mask").sum().item<double>(), n);
  return output;
}

}  // namespace orrery::algorithm
