#include "orrery/algorithm/dpo.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>

#include "orrery/algorithm/advantages.h"
#include "orrery/algorithm/kto_loss.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/preference_losses.h"

namespace orrery::algorithm {

namespace {

const std::vector<int32_t>& token_lengths(const data::SequenceBatch& batch) {
  return batch.meta.at("packed_input_ids").lengths.flat();
}

at::Tensor answer_mask(const data::SequenceBatch& batch) {
  return action_mask(batch.at("prompt_mask"), token_lengths(batch));
}

/// [N] log-probabilities of the answers under the weights as they are.
at::Tensor current_answer_log_probs(ModelContext& model, const data::SequenceBatch& input,
                                    const parallel::MicroBatchLimits& limits) {
  return sums_by_sequence(current_log_probs(model, input, 1.0, limits), answer_mask(input),
                          token_lengths(input));
}

/// [N] tokens of each answer, the end token included.
std::vector<int32_t> answer_lengths(const data::SequenceBatch& batch) {
  const at::Tensor mask = answer_mask(batch);
  const at::Tensor counts =
      sums_by_sequence(at::ones({mask.numel()}, at::kDouble), mask, token_lengths(batch));
  const double* count = counts.const_data_ptr<double>();
  return {count, count + counts.numel()};
}

/// Sums over the data ranks, the same on all of them. Collective over the data group.
template <size_t n>
std::array<double, n> summed_over_ranks(ModelContext& model, std::array<double, n> numbers) {
  if (model.data_group == nullptr || model.data_group->size() == 1) return numbers;
  at::Tensor sums = at::empty({static_cast<int64_t>(n)}, at::kDouble);
  std::copy_n(numbers.data(), n, sums.mutable_data_ptr<double>());
  model.data_group->all_reduce(sums, comm::ReduceOp::kSum);
  std::copy_n(sums.const_data_ptr<double>(), n, numbers.data());
  return numbers;
}

PairInput pairs_of(const at::Tensor& log_probs, const data::SequenceBatch& part) {
  PairInput input{.log_probs = sums_by_sequence(log_probs, answer_mask(part), token_lengths(part)),
                  .ref_log_probs = {},
                  .lengths = answer_lengths(part)};
  if (part.has_data("ref_seqlogp")) {
    input.ref_log_probs = part.at("ref_seqlogp").to(input.log_probs.scalar_type());
  }
  return input;
}

/// The mismatched prompts and answers of a batch under the names of ordinary ones.
data::SequenceBatch mismatched_of(const data::SequenceBatch& batch) {
  const std::string keys[] = {"kl_input_ids", "kl_prompt_mask"};
  return batch.select(keys).remap(
      {{"kl_input_ids", "packed_input_ids"}, {"kl_prompt_mask", "prompt_mask"}});
}

/// The reference point of a minibatch from the mismatched ones of all data ranks; 0: there are
/// none. Collective over the replica.
double reference_point_of(ModelContext& model, const data::SequenceBatch& minibatch,
                          const parallel::MicroBatchLimits& limits) {
  if (!minibatch.has_data("kl_input_ids")) return 0;
  const at::Tensor log_probs = current_answer_log_probs(model, mismatched_of(minibatch), limits);
  const KlSample own =
      kl_sample(log_probs, minibatch.at("kl_ref_seqlogp"), NonfiniteInput::kPassOn);
  const std::array<double, 2> all = summed_over_ranks<2>(model, {own.sum, own.count});
  return KlSample{.sum = all[0], .count = all[1]}.reference_point();
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

metrics::Statistics Dpo::train_on_pairs(ModelContext& model, const data::SequenceBatch& minibatch,
                                        const CallContext& call) const {
  const PairLossOptions options = options_.pair_options();
  const PairCounts own = PairCounts::of({.lengths = answer_lengths(minibatch)});
  PairCounts all = own;
  if (options.nll_coef != 0) {
    const std::array<double, 2> sums = summed_over_ranks<2>(model, {own.pairs, own.chosen_tokens});
    all = {.pairs = sums[0], .chosen_tokens = sums[1]};
  }
  return model.engine->step(
      minibatch, 1.0, own.pairs,
      [&](const at::Tensor& log_probs, const data::SequenceBatch& part) {
        return pair_losses(pairs_of(log_probs, part), options, all).result;
      },
      call.limits);
}

metrics::Statistics Dpo::train_on_answers(ModelContext& model, const data::SequenceBatch& minibatch,
                                          const CallContext& call) const {
  const double reference_point = reference_point_of(model, minibatch, call.limits);
  const KtoOptions options{.beta = options_.beta,
                           .desirable_weight = options_.desirable_weight,
                           .undesirable_weight = options_.undesirable_weight,
                           .nonfinite = NonfiniteInput::kPassOn};
  const std::string keys[] = {"packed_input_ids", "prompt_mask", "ref_seqlogp", "desirable"};
  return model.engine->step(
      minibatch.select(keys), 1.0,
      static_cast<double>(minibatch.meta.at("packed_input_ids").lengths.n_sequences()),
      [&](const at::Tensor& log_probs, const data::SequenceBatch& part) {
        const at::Tensor sums = sums_by_sequence(log_probs, answer_mask(part), token_lengths(part));
        return kto_loss({.log_probs = sums,
                         .ref_log_probs = part.at("ref_seqlogp").to(sums.scalar_type()),
                         .is_desirable = part.at("desirable").to(at::kBool),
                         .reference_point = reference_point},
                        options)
            .result;
      },
      call.limits);
}

std::vector<metrics::Statistics> Dpo::train_step(ModelContext& model,
                                                 const data::SequenceBatch& input,
                                                 const CallContext& call) {
  if (!options_.is_kto()) check_pairs(input);
  std::vector<metrics::Statistics> records;
  const std::vector<int> sizes = data::minibatch_sizes(static_cast<int>(input.size()),
                                                       static_cast<int>(options_.n_minibatches));
  for (const data::SequenceBatch& minibatch : input.split({.sizes = sizes, .ranges = {}})) {
    records.push_back(options_.is_kto() ? train_on_answers(model, minibatch, call)
                                        : train_on_pairs(model, minibatch, call));
  }
  return records;
}

Evaluation Dpo::evaluate(ModelContext& model, const EvaluationInput& input,
                         const CallContext& call) {
  check_pairs(input.batch);
  return {.statistics = pair_accuracy(current_answer_log_probs(model, input.batch, call.limits))};
}

}  // namespace orrery::algorithm
