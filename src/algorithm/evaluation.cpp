#include "orrery/algorithm/evaluation.h"

#include <ATen/core/grad_mode.h>  // NoGradGuard

#include "orrery/algorithm/advantages.h"  // action_mask
#include "orrery/algorithm/generation.h"
#include "orrery/algorithm/responses.h"

namespace orrery::algorithm {

namespace {

metrics::Statistics accuracy(ModelContext& model, const EvaluationInput& input, MatchRule rule,
                             const CallContext& call) {
  const model::GenerationOptions options{.max_new_tokens = input.max_new_tokens,
                                         .greedy = true,
                                         .stop_ids = stop_ids(*model.tokenizer)};
  data::SequenceBatch generated = generate_batch(model, input.batch, options, call.seed, call.step);
  generated.set("answers", input.batch.at("answers"), input.batch.meta.at("answers").lengths);
  double right = 0;
  double length = 0;
  const std::vector<Response> responses = responses_of(generated, *model.tokenizer);
  for (const Response& response : responses) {
    right += is_match(rule, response.text, response.answer) ? 1 : 0;
    length += response.n_tokens;
  }
  const auto n = static_cast<double>(responses.size());
  metrics::Statistics statistics;
  statistics.mean("eval/accuracy", right, n);
  statistics.mean("eval/response_length", length, n);
  statistics.mean("eval/no_eos_ratio", generated.at("seq_no_eos_mask").sum().item<double>(), n);
  statistics.sum("eval/n_prompts", n);
  return statistics;
}

metrics::Statistics loss(ModelContext& model, const EvaluationInput& input,
                         const CallContext& call) {
  const at::NoGradGuard no_grad;
  double sum = 0;
  double weight = 0;
  for (const data::SequenceBatch& part : parallel::micro_batches(input.batch, call.limits)) {
    const std::vector<int32_t>& lengths = part.meta.at("packed_input_ids").lengths.flat();
    const at::Tensor log_probs =
        model.decoder->log_probs(model::pack_tokens(part.at("packed_input_ids"), lengths));
    const at::Tensor mask = action_mask(part.at("prompt_mask"), lengths);
    sum -= (log_probs * mask).sum().item<double>();
    weight += mask.sum().item<double>();
  }
  metrics::Statistics statistics;
  statistics.mean("eval/loss", sum, weight);
  return statistics;
}

}  // namespace

metrics::Statistics evaluate_model(ModelContext& model, const EvaluationInput& input,
                                   MatchRule rule, const CallContext& call) {
  if (input.batch.size() == 0) return {};
  return input.batch.meta.contains("packed_prompts") ? accuracy(model, input, rule, call)
                                                     : loss(model, input, call);
}

}  // namespace orrery::algorithm
