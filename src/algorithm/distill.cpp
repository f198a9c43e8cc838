#include "orrery/algorithm/distill.h"

#include <ATen/ATen.h>

#include "orrery/algorithm/advantages.h"
#include "orrery/algorithm/evaluation.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/minibatches.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

double count_of(const data::SequenceBatch& minibatch) {
  return minibatch.at("action_mask").sum().item<double>();
}

/// One sample a sequence, with the mask of the answers' tokens and these keys of `input`.
data::SequenceBatch prepared(const data::SequenceBatch& input,
                             const std::vector<std::string>& keys) {
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  data::SequenceBatch batch = input.select(keys);
  batch.set("action_mask", action_mask(input.at("prompt_mask"), tokens.flat()),
            action_lengths(tokens));
  return by_sequence(batch);
}

std::vector<int32_t> actions_of_each(const data::SequenceBatch& part) {
  return part.meta.at("action_mask").lengths.flat();
}

}  // namespace

std::vector<OptionProblem> DistillOptions::problems(const config::CallConfig&) const {
  std::vector<OptionProblem> found;
  if (coef == 0) found.push_back({"coef", "0: the teacher has no say and nothing is learned"});
  return found;
}

Distill::Distill(DistillOptions options)
    : options_(std::move(options)),
      loss_{.coef = options_.coef,
            .discount = options_.discount,
            .student = student_log_probs_named(options_.student_log_probs),
            .surrogate = distillation_surrogate_named(options_.surrogate),
            .nonfinite = NonfiniteInput::kPassOn},
      rule_(match_rule_named(options_.match)) {}

data::SequenceBatch Distill::inference(ModelContext& model, const data::SequenceBatch& input,
                                       const CallContext& call) {
  return packed_log_probs(model, input, options_.temperature, call.limits);
}

std::vector<metrics::Statistics> Distill::train_step(ModelContext& model,
                                                     const data::SequenceBatch& input,
                                                     const CallContext& call) {
  const data::SequenceBatch batch =
      prepared(input, {"packed_input_ids", "packed_logprobs", "teacher_logprobs"});
  std::vector<metrics::Statistics> records;
  for (const std::vector<int>& sequences :
       minibatches_of(batch, call, options_.n_minibatches, /*ppo_epochs=*/1)) {
    const data::SequenceBatch minibatch = batch.select_samples(sequences);
    records.push_back(model.engine->step(
        minibatch, options_.temperature, count_of(minibatch),
        [&](const at::Tensor& log_probs, const data::SequenceBatch& part) {
          return sampled_distillation_loss(
                     {.log_probs = log_probs,
                      .old_log_probs = part.at("packed_logprobs").to(log_probs.scalar_type()),
                      .teacher_log_probs = part.at("teacher_logprobs").to(log_probs.scalar_type()),
                      .advantages = {},
                      .mask = part.at("action_mask"),
                      .n_actions = actions_of_each(part)},
                     loss_)
              .result;
        },
        call.limits));
  }
  return records;
}

Evaluation Distill::evaluate(ModelContext& model, const EvaluationInput& input,
                             const CallContext& call) {
  return evaluate_model(model, input, rule_, call);
}

std::vector<OptionProblem> DistillFullOptions::problems(const config::CallConfig&) const {
  std::vector<OptionProblem> found;
  if (divergence == "jsd" && (beta == 0 || beta == 1)) {
    found.push_back({"beta", base::concat("jsd with beta = ", beta,
                                          " is 0 for any student; write a number between, or "
                                          "divergence = forward_kl or reverse_kl")});
  }
  if (divergence != "jsd" && beta != DistillFullOptions().beta) {
    found.push_back({"beta", base::concat("divergence = ", divergence, " has none; leave it out")});
  }
  return found;
}

DistillFull::DistillFull(DistillFullOptions options)
    : options_(std::move(options)),
      divergence_{.divergence = model::divergence_named(options_.divergence),
                  .beta = options_.beta,
                  .temperature = options_.softmax_temperature,
                  .times_temperature_squared = options_.times_temperature_squared,
                  .nonfinite = model::NonfiniteLogits::kPassOn},
      rule_(match_rule_named(options_.match)) {
  model::check_options(divergence_);
}

data::SequenceBatch DistillFull::inference(ModelContext& model, const data::SequenceBatch& input,
                                           const CallContext& call) {
  data::SequenceBatch output;
  output.meta.ids = input.meta.ids;
  output.set("teacher_hidden", current_hidden(model, input, call.limits),
             input.meta.at("packed_input_ids").lengths);
  return output;
}

std::vector<metrics::Statistics> DistillFull::train_step(ModelContext& model,
                                                         const data::SequenceBatch& input,
                                                         const CallContext& call) {
  if (model.teacher == nullptr) {
    throw CallError("this worker has no shard of the teacher",
                    {.expected = "teacher_hidden from an inference call in the layout of the "
                                 "student's train_step",
                     .got = "none",
                     .advice = "give both calls one layout"});
  }
  const data::SequenceBatch batch = prepared(input, {"packed_input_ids", "teacher_hidden"});
  std::vector<metrics::Statistics> records;
  for (const std::vector<int>& sequences :
       minibatches_of(batch, call, options_.n_minibatches, /*ppo_epochs=*/1)) {
    const data::SequenceBatch minibatch = batch.select_samples(sequences);
    records.push_back(model.engine->step_on_output(
        minibatch, count_of(minibatch),
        [&](const model::PackedTokens& tokens, const at::Tensor& output,
            const data::SequenceBatch& part) {
          const at::Tensor& mask = part.at("action_mask");
          parallel::LossResult result;
          result.loss_sum =
              model.decoder
                  ->head_divergence(tokens, output,
                                    {.decoder = model.teacher, .hidden = part.at("teacher_hidden")},
                                    mask, divergence_)
                  .sum();
          const double n = mask.sum().item<double>();
          result.statistics.mean("divergence", result.loss_sum.item<double>(), n);
          result.statistics.sum("n_valid_tokens", n);
          return result;
        },
        call.limits));
  }
  return records;
}

Evaluation DistillFull::evaluate(ModelContext& model, const EvaluationInput& input,
                                 const CallContext& call) {
  return evaluate_model(model, input, rule_, call);
}

}  // namespace orrery::algorithm
