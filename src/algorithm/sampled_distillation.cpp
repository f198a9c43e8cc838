#include "orrery/algorithm/sampled_distillation.h"

#include <ATen/ATen.h>

#include <limits>
#include <numeric>
#include <string>

#include "orrery/algorithm/masked_statistics.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

void check_sequences(const std::vector<int32_t>& n_actions, int64_t expected) {
  int64_t n = 0;
  bool is_negative = false;
  for (const int32_t each : n_actions) {
    n += each;
    is_negative |= each < 0;
  }
  if (n == expected && !is_negative) return;
  throw ShapeError("actions of the sequences",
                   {.expected = base::concat(expected), .got = base::concat(n), .advice = {}});
}

void check(const SampledDistillationInput& input, const SampledDistillationOptions& options) {
  const int64_t n = input.log_probs.numel();
  check_size("old_log_probs", input.old_log_probs, n);
  check_size("teacher_log_probs", input.teacher_log_probs, n);
  check_size("mask", input.mask, n);
  if (input.advantages.defined()) {
    check_size("advantages", input.advantages, n);
    refuse_nonfinite("advantages", input.advantages, input.mask);
  }
  refuse_nonfinite("the teacher's log-probabilities", input.teacher_log_probs, input.mask);
  if (options.nonfinite == NonfiniteInput::kPassOn) return;
  refuse_nonfinite("log_probs", input.log_probs, input.mask);
  refuse_nonfinite("old_log_probs", input.old_log_probs, input.mask);
}

}  // namespace

StudentLogProbs student_log_probs_named(std::string_view name) {
  if (name == "old") return StudentLogProbs::kOld;
  if (name == "current") return StudentLogProbs::kCurrent;
  throw ConfigError("student_log_probs",
                    {.expected = "old or current", .got = std::string(name), .advice = {}});
}

DistillationSurrogate distillation_surrogate_named(std::string_view name) {
  if (name == "importance_sampling") return DistillationSurrogate::kImportanceSampling;
  if (name == "reinforce") return DistillationSurrogate::kReinforce;
  throw ConfigError(
      "surrogate of a distillation",
      {.expected = "importance_sampling or reinforce", .got = std::string(name), .advice = {}});
}

at::Tensor distillation_advantages(const at::Tensor& student, const at::Tensor& teacher,
                                   const at::Tensor& mask, const std::vector<int32_t>& n_actions,
                                   double coef, double discount) {
  check_option("coef", coef, 0, std::numeric_limits<double>::max());
  check_option("discount", discount, 0, 1);
  const int64_t n = student.numel();
  check_size("the teacher's log-probabilities", teacher, n);
  check_size("mask", mask, n);
  check_sequences(n_actions, n);
  const at::Tensor signal =
      (teacher.detach().to(at::kDouble) - student.detach().to(at::kDouble)).contiguous();
  const at::Tensor valid = mask.contiguous();
  at::Tensor advantages = at::zeros({n}, at::kDouble);
  const double* from = signal.const_data_ptr<double>();
  const bool* is_valid = valid.const_data_ptr<bool>();
  double* to = advantages.mutable_data_ptr<double>();
  int64_t begin = 0;
  for (const int32_t length : n_actions) {
    double later = 0;
    for (int64_t t = begin + length - 1; t >= begin; --t) {
      if (!is_valid[t]) continue;
      later = from[t] + discount * later;
      to[t] = coef * later;
    }
    begin += length;
  }
  return advantages;
}

SampledDistillationLoss sampled_distillation_loss(const SampledDistillationInput& input,
                                                  const SampledDistillationOptions& options) {
  check(input, options);
  const at::Tensor student =
      options.student == StudentLogProbs::kOld ? input.old_log_probs : input.log_probs.detach();
  SampledDistillationLoss loss;
  loss.advantages = distillation_advantages(student, input.teacher_log_probs, input.mask,
                                            input.n_actions, options.coef, options.discount);
  if (input.advantages.defined()) {
    loss.advantages =
        loss.advantages + at::where(input.mask, input.advantages.to(at::kDouble), 0.0);
  }
  const at::Tensor constant = loss.advantages.to(input.log_probs.scalar_type());
  const bool is_ratio = options.surrogate == DistillationSurrogate::kImportanceSampling;
  // Masked before the exponential: a masked place may hold anything, its gradient is 0.
  const at::Tensor own = at::where(input.mask, input.log_probs, 0.0);
  const at::Tensor factor =
      is_ratio ? at::exp(own - at::where(input.mask, input.old_log_probs, 0.0)) : own;
  loss.result.loss_sum = -(constant * factor).sum();

  metrics::Statistics& statistics = loss.result.statistics;
  const auto n_valid = static_cast<double>(input.mask.sum().item<int64_t>());
  statistics.mean("reverse_kl", masked_sum(student - input.teacher_log_probs, input.mask), n_valid);
  record_spread(statistics, "advantage", loss.advantages, input.mask);
  statistics.sum("n_valid_tokens", n_valid);
  return loss;
}

}  // namespace orrery::algorithm
