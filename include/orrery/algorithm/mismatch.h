// How far the log-probabilities that generation recorded are from what training computes, and how
// far the distribution drawn from is from the policy. Local. Shape letter: A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "orrery/metrics/statistics.h"

namespace orrery::algorithm {

/// With d = trained - generated at the actions of the mask: mismatch/abs_mean and mismatch/abs_max
/// of |d|, mismatch/k1 = mean(-d) and mismatch/k3 = mean(exp(d) - 1 - d), two estimates of the KL
/// divergence of the generator's policy from the engine's (Schulman); mismatch/prob_abs_mean and
/// mismatch/prob_abs_max of |exp(trained) - exp(generated)|; mismatch/chi2_token = mean(exp(2 d)) -
/// 1, and over the sequences with an action mismatch/chi2_sequence = mean(exp(2 sum d)) - 1,
/// mismatch/trained_perplexity, mismatch/generated_perplexity = mean(exp(-mean log-probability))
/// and mismatch/perplexity_ratio = mean(exp(-mean d)). Nothing without an action.
///   all [A]; lengths [N] actions of each sequence
void record_mismatch(metrics::Statistics& statistics, const at::Tensor& trained,
                     const at::Tensor& generated, const at::Tensor& mask,
                     const std::vector<int32_t>& lengths);

/// What the actions that weights of one version generated say of the mismatch.
struct VersionMismatch {
  int64_t version = 0;
  double n_actions = 0;
  double k1 = 0;  ///< means, as above
  double k3 = 0;
  double abs_mean = 0;
};

struct VersionReport {
  double staleness_mean = 0;  ///< of current version - version
  int64_t staleness_max = 0;
  std::vector<VersionMismatch> by_version = {};  ///< ascending
  std::vector<int64_t> mixed_sequences = {};     ///< more than one version among their actions
};

/// Of the actions of the mask.
///   versions [A] int64
VersionReport version_report(const at::Tensor& trained, const at::Tensor& generated,
                             const at::Tensor& versions, int64_t current_version,
                             const at::Tensor& mask, const std::vector<int32_t>& lengths);

/// staleness with _max, mixed_sequences, and for each age n of actions mismatch/age_<n>/k3.
void record_versions(metrics::Statistics& statistics, const VersionReport& report,
                     int64_t current_version);

/// min(cap, exp(policy - drawn)): the truncated importance weight (Ionides 2008; of language
/// models, Yao et al. 2025) of a token that was drawn from another distribution than the policy's.
/// Filters and masked tokens only raise the probability of what they leave: the weight is the
/// probability that they left, at most 1.
///   [A], in double
at::Tensor sampling_weight(const at::Tensor& policy_log_probs, const at::Tensor& drawn_log_probs,
                           double cap);

}  // namespace orrery::algorithm
