#include "orrery/algorithm/dpo.h"

#include <ATen/ATen.h>

#include "orrery/algorithm/advantages.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/preference_losses.h"

namespace orrery::algorithm {

namespace {

/// [N] log-probabilities of the answers under the weights as they are.
at::Tensor current_answer_log_probs(ModelContext& model, const data::SequenceBatch& input,
                                    const parallel::MicroBatchLimits& limits) {
  const std::vector<int32_t>& lengths = input.meta.at("packed_input_ids").lengths.flat();
  return sums_by_sequence(current_log_probs(model, input, 1.0, limits),
                          action_mask(input.at("prompt_mask"), lengths), lengths);
}

}  // namespace

data::SequenceBatch Dpo::inference(ModelContext& model, const data::SequenceBatch& input,
                                   const CallContext& call) {
  data::SequenceBatch output;
  output.meta.ids = input.meta.ids;
  output.set("seqlogp", current_answer_log_probs(model, input, call.limits).to(at::kFloat),
             one_each(input.meta.at("packed_input_ids").lengths));
  return output;
}

std::vector<metrics::Statistics> Dpo::train_step(ModelContext& model,
                                                 const data::SequenceBatch& input,
                                                 const CallContext& call) {
  check_pairs(input);
  std::vector<metrics::Statistics> records;
  const std::vector<int> sizes = data::minibatch_sizes(static_cast<int>(input.size()),
                                                       static_cast<int>(options_.n_minibatches));
  for (const data::SequenceBatch& minibatch : input.split({.sizes = sizes, .ranges = {}})) {
    const auto n_pairs =
        static_cast<double>(minibatch.meta.at("packed_input_ids").lengths.n_sequences()) / 2;
    records.push_back(model.engine->step(
        minibatch, 1.0, n_pairs,
        [this](const at::Tensor& log_probs, const data::SequenceBatch& part) {
          const std::vector<int32_t>& lengths = part.meta.at("packed_input_ids").lengths.flat();
          const at::Tensor sums =
              sums_by_sequence(log_probs, action_mask(part.at("prompt_mask"), lengths), lengths);
          return dpo_loss(sums, part.at("ref_seqlogp").to(sums.scalar_type()), options_.beta);
        },
        call.limits));
  }
  return records;
}

metrics::Statistics Dpo::evaluate(ModelContext& model, const EvaluationInput& input,
                                  const CallContext& call) {
  check_pairs(input.batch);
  return pair_accuracy(current_answer_log_probs(model, input.batch, call.limits));
}

}  // namespace orrery::algorithm
