#include "orrery/algorithm/sft.h"

#include <cmath>

#include "orrery/algorithm/advantages.h"
#include "orrery/algorithm/evaluation.h"
#include "orrery/algorithm/log_probs.h"

namespace orrery::algorithm {

parallel::LossResult sft_loss(const at::Tensor& log_probs, const at::Tensor& prompt_mask,
                              const std::vector<int32_t>& lengths) {
  const at::Tensor mask = action_mask(prompt_mask, lengths);
  parallel::LossResult result;
  const at::Tensor losses = at::where(mask, -log_probs, 0.0);
  result.loss_sum = losses.sum();

  const at::Tensor wide = losses.detach().to(at::kDouble).contiguous();
  const double* loss = wide.const_data_ptr<double>();
  const bool* counts = mask.const_data_ptr<bool>();
  for (const int32_t n : lengths) {
    double sum = 0;
    double tokens = 0;
    for (int32_t t = 0; t + 1 < n; ++t) {
      if (!counts[t]) continue;
      sum += loss[t];
      ++tokens;
    }
    // A sequence without an answer has no perplexity; it is left out, not NaN.
    if (tokens > 0) result.statistics.mean("ppl", std::exp(sum / tokens), 1);
    result.statistics.sum("n_valid_tokens", tokens);
    loss += n - 1;
    counts += n - 1;
  }
  result.statistics.sum("n_seqs", static_cast<double>(lengths.size()));
  return result;
}

std::vector<metrics::Statistics> Sft::train_step(ModelContext& model,
                                                 const data::SequenceBatch& input,
                                                 const CallContext& call) {
  std::vector<metrics::Statistics> records;
  const std::vector<int> sizes = data::minibatch_sizes(static_cast<int>(input.size()),
                                                       static_cast<int>(options_.n_minibatches));
  for (data::SequenceBatch& minibatch : input.split({.sizes = sizes, .ranges = {}})) {
    const data::NestedLengths lengths = minibatch.meta.at("packed_input_ids").lengths;
    const at::Tensor mask = action_mask(minibatch.at("prompt_mask"), lengths.flat());
    minibatch.set("action_mask", mask, action_lengths(lengths));
    const double weight = mask.sum().item<double>();
    records.push_back(model.engine->step(
        minibatch, 1.0, weight,
        [](const at::Tensor& log_probs, const data::SequenceBatch& part) {
          return sft_loss(log_probs, part.at("prompt_mask"),
                          part.meta.at("packed_input_ids").lengths.flat());
        },
        call.limits, {},
        [](const model::LogProbs& policy, const data::SequenceBatch& part) {
          return at::where(part.at("action_mask"), -policy.log_probs, 0.0).sum();
        }));
  }
  return records;
}

Evaluation Sft::evaluate(ModelContext& model, const EvaluationInput& input,
                         const CallContext& call) {
  return evaluate_model(model, input, rule_, call);
}

}  // namespace orrery::algorithm
