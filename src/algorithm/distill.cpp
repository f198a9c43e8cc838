#include "orrery/algorithm/distill.h"

#include <ATen/ATen.h>

#include "orrery/algorithm/advantages.h"
#include "orrery/algorithm/evaluation.h"
#include "orrery/algorithm/group_advantages.h"
#include "orrery/algorithm/log_probs.h"
#include "orrery/algorithm/masked_statistics.h"
#include "orrery/algorithm/minibatches.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/config/experiment.h"  // CallConfig

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

/// Of the answers that have one.
void record_rewards(const at::Tensor& rewards, metrics::Statistics& statistics) {
  const at::Tensor left_out = rewards.isnan();
  record_spread(statistics, "task_reward", rewards, left_out.logical_not());
  statistics.sum("left_out_answers", left_out.sum().item<double>());
}

}  // namespace

std::vector<OptionProblem> DistillOptions::problems(const config::CallConfig& call) const {
  std::vector<OptionProblem> found;
  if (call.kind != "train_step") return found;
  if (coef == 0) {
    found.push_back({"coef", has_rewards()
                                 ? "0: the teacher has no say; interface grpo learns from "
                                   "rewards alone"
                                 : "0: the teacher has no say and nothing is learned"});
  }
  const bool reads_rewards = config::find_binding(call.inputs, "rewards") != nullptr;
  if (has_rewards() && !reads_rewards) {
    found.push_back({"estimator", base::concat(estimator,
                                               " makes advantages of the input rewards; add it to "
                                               "the inputs, or write none")});
  }
  if (!has_rewards() && reads_rewards) {
    found.push_back({"inputs",
                     "estimator = none reads no rewards; write estimator = grpo, dr_grpo or rloo, "
                     "or leave the input rewards out"});
  }
  if (has_rewards() && reward_coef == 0) {
    found.push_back({"reward_coef", "0: rewards have no say; write estimator = none"});
  }
  if (!has_rewards() && reward_coef != DistillOptions().reward_coef) {
    found.push_back(
        {"reward_coef", "has no effect with estimator = none", OptionProblem::Severity::kWarning});
  }
  return found;
}

at::Tensor task_advantages(const data::SequenceBatch& input, const DistillOptions& options) {
  const data::NestedLengths& tokens = input.meta.at("packed_input_ids").lengths;
  const at::Tensor rewards = input.at("rewards").to(at::kDouble);
  const at::Tensor advantages =
      group_advantages(rewards, group_sizes_of(tokens), rewards.isnan().logical_not(),
                       {.estimator = group_estimator_named(options.estimator)});
  return per_action(options.reward_coef * advantages, tokens.flat());
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
  data::SequenceBatch learned = input;
  std::vector<std::string> keys = {"packed_input_ids", "packed_logprobs", "teacher_logprobs"};
  if (options_.has_rewards()) {
    learned.set("task_advantages", task_advantages(input, options_),
                action_lengths(input.meta.at("packed_input_ids").lengths));
    keys.emplace_back("task_advantages");
  }
  const data::SequenceBatch batch = prepared(learned, keys);
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
                      .advantages = part.has_data("task_advantages") ? part.at("task_advantages")
                                                                     : at::Tensor(),
                      .mask = part.at("action_mask"),
                      .n_actions = actions_of_each(part)},
                     loss_)
              .result;
        },
        call.limits));
  }
  if (options_.has_rewards()) record_rewards(input.at("rewards"), records.front());
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
                  .sum()
                  .cpu();
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
