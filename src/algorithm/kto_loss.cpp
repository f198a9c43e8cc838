#include "orrery/algorithm/kto_loss.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "orrery/algorithm/masked_statistics.h"
#include "orrery/base/error.h"

namespace orrery::algorithm {

namespace {

void check(const KtoInput& input, const KtoOptions& options) {
  check_positive("beta", options.beta);
  constexpr double kLargest = std::numeric_limits<double>::max();
  check_option("desirable_weight", options.desirable_weight, 0, kLargest);
  check_option("undesirable_weight", options.undesirable_weight, 0, kLargest);
  const int64_t n = input.log_probs.numel();
  check_size("ref_log_probs of answers", input.ref_log_probs, n);
  check_size("labels of answers", input.is_desirable, n);
  if (options.nonfinite == NonfiniteInput::kPassOn) return;
  refuse_nonfinite("log_probs of answers", input.log_probs);
  refuse_nonfinite("ref_log_probs of answers", input.ref_log_probs);
}

}  // namespace

double KlSample::reference_point() const {
  const double mean = count > 0 ? sum / count : 0;
  return std::isnan(mean) ? mean : std::max(0.0, mean);
}

KlSample kl_sample(const at::Tensor& log_probs, const at::Tensor& ref_log_probs,
                   NonfiniteInput nonfinite) {
  if (!log_probs.defined() && !ref_log_probs.defined()) return {};
  check_size("log_probs of mismatched pairs", log_probs,
             ref_log_probs.defined() ? ref_log_probs.numel() : 0);
  check_size("ref_log_probs of mismatched pairs", ref_log_probs, log_probs.numel());
  if (nonfinite == NonfiniteInput::kRefuse) {
    refuse_nonfinite("log_probs of mismatched pairs", log_probs);
    refuse_nonfinite("ref_log_probs of mismatched pairs", ref_log_probs);
  }
  const at::Tensor ratios = log_probs.detach().to(at::kDouble) - ref_log_probs.to(at::kDouble);
  return {ratios.sum().item<double>(), static_cast<double>(ratios.numel())};
}

KtoLosses kto_loss(const KtoInput& input, const KtoOptions& options) {
  check(input, options);
  const at::Tensor ratios = input.log_probs - input.ref_log_probs;
  const at::Tensor& is_good = input.is_desirable;
  const at::Tensor ahead = options.beta * (ratios - input.reference_point);
  KtoLosses losses;
  losses.per_sequence =  // 1 - sigmoid(x) = sigmoid(-x)
      at::where(is_good, options.desirable_weight * at::sigmoid(-ahead),
                options.undesirable_weight * at::sigmoid(ahead));
  losses.result.loss_sum = losses.per_sequence.sum();

  const at::Tensor rewards = options.beta * ratios.detach();
  metrics::Statistics& statistics = losses.result.statistics;
  const auto n = static_cast<double>(ratios.numel());
  record_spread(statistics, "desirable_reward", rewards, is_good);
  record_spread(statistics, "undesirable_reward", rewards, is_good.logical_not());
  const at::Tensor is_right = at::where(is_good, ahead.detach().gt(0), ahead.detach().lt(0));
  statistics.mean("accuracy", is_right.sum().item<double>(), n);
  statistics.mean("ref_kl", -ratios.detach().to(at::kDouble).sum().item<double>(), n);
  statistics.mean("kl_reference_point", input.reference_point * n, n);
  statistics.sum("n_answers", n);
  return losses;
}

}  // namespace orrery::algorithm
