// On-policy distillation: a student learns from its own answers, each token of which a teacher
// gives a log-probability. Pure and local. Shape letter: A actions, packed sequence by sequence.
//
//   signal     teacher - student log-probability of the action that was drawn
//   advantage  coef times the sum over this and the later valid actions of discount^k signal, k
//              counting valid actions, plus the advantages of the task where there are any.
//              discount 0: the action alone (Lu & Thinking Machines 2025); 1: Gu et al. 2023
//   loss       sum over valid actions of -advantage exp(log_prob - old_log_prob), or of
//              -advantage log_prob
// The mean of -signal estimates KL(student || teacher).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "orrery/algorithm/loss_inputs.h"
#include "orrery/parallel/train_engine.h"  // LossResult

namespace orrery::algorithm {

enum class StudentLogProbs {
  kOld,      ///< those before the step
  kCurrent,  ///< those of the model as it is now, as constants
};
enum class DistillationSurrogate { kImportanceSampling, kReinforce };

/// By the words of the configuration. Throw ConfigError for another one.
StudentLogProbs student_log_probs_named(std::string_view name);  // old, current
DistillationSurrogate distillation_surrogate_named(std::string_view name);

struct SampledDistillationOptions {
  double coef = 1;
  double discount = 0;
  StudentLogProbs student = StudentLogProbs::kOld;
  DistillationSurrogate surrogate = DistillationSurrogate::kImportanceSampling;
  NonfiniteInput nonfinite = NonfiniteInput::kRefuse;
};

struct SampledDistillationInput {
  at::Tensor log_probs;            ///< [A] of the model being trained, differentiable
  at::Tensor old_log_probs;        ///< [A] before the step
  at::Tensor teacher_log_probs;    ///< [A]
  at::Tensor advantages = {};      ///< [A] of the task; undefined: none
  at::Tensor mask;                 ///< [A] bool: valid actions; others may hold anything
  std::vector<int32_t> n_actions;  ///< of each sequence
};

/// [A] in double: coef times the discounted sum of teacher - student, 0 where `mask` is false.
/// Throws ConfigError for options out of range, ShapeError when the sizes disagree.
at::Tensor distillation_advantages(const at::Tensor& student, const at::Tensor& teacher,
                                   const at::Tensor& mask, const std::vector<int32_t>& n_actions,
                                   double coef, double discount);

struct SampledDistillationLoss {
  at::Tensor advantages;        ///< [A]
  parallel::LossResult result;  ///< loss_sum: over the valid actions
};

/// Statistics per valid action: reverse_kl (student - teacher), advantage. Throws as above, and
/// CallError for numbers of the teacher, the task or (kRefuse) the student at valid actions that
/// are not finite.
SampledDistillationLoss sampled_distillation_loss(const SampledDistillationInput& input,
                                                  const SampledDistillationOptions& options);

}  // namespace orrery::algorithm
