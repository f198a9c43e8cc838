#include "orrery/algorithm/mismatch.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "orrery/algorithm/sequence_actions.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

double sum_of(const at::Tensor& values) { return values.sum().item<double>(); }

/// Over the sequences that have an action.
void record_sequences(metrics::Statistics& statistics, const at::Tensor& trained,
                      const at::Tensor& generated, const SequenceActions& sequences) {
  const at::Tensor has_action = sequences.counts().gt(0);
  const auto n = sum_of(has_action);
  const auto record = [&](const char* name, const at::Tensor& per_sequence) {
    statistics.mean(name, sum_of(per_sequence.masked_select(has_action)), n);
  };
  const at::Tensor of_trained = sequences.means(trained), of_generated = sequences.means(generated);
  record("mismatch/chi2_sequence", (2 * sequences.sums(trained - generated)).expm1());
  record("mismatch/trained_perplexity", (-of_trained).exp());
  record("mismatch/generated_perplexity", (-of_generated).exp());
  record("mismatch/perplexity_ratio", (of_generated - of_trained).exp());
}

}  // namespace

void record_mismatch(metrics::Statistics& statistics, const at::Tensor& trained,
                     const at::Tensor& generated, const at::Tensor& mask,
                     const std::vector<int32_t>& lengths) {
  const at::Tensor by_engine = trained.detach().to(at::kDouble);
  const at::Tensor by_generator = generated.detach().to(at::kDouble);
  const at::Tensor d = (by_engine - by_generator).masked_select(mask);
  if (d.numel() == 0) return;
  const auto n = static_cast<double>(d.numel());
  const at::Tensor distance = d.abs();
  statistics.mean("mismatch/abs_mean", sum_of(distance), n);
  statistics.max("mismatch/abs_max", distance.max().item<double>());
  statistics.mean("mismatch/k1", -sum_of(d), n);
  statistics.mean("mismatch/k3", sum_of(d.expm1() - d), n);
  statistics.mean("mismatch/chi2_token", sum_of((2 * d).expm1()), n);
  const at::Tensor of_probability =
      (by_engine.exp() - by_generator.exp()).masked_select(mask).abs();
  statistics.mean("mismatch/prob_abs_mean", sum_of(of_probability), n);
  statistics.max("mismatch/prob_abs_max", of_probability.max().item<double>());
  record_sequences(statistics, by_engine, by_generator, SequenceActions(lengths, mask));
}

VersionReport version_report(const at::Tensor& trained, const at::Tensor& generated,
                             const at::Tensor& versions, int64_t current_version,
                             const at::Tensor& mask, const std::vector<int32_t>& lengths) {
  const at::Tensor d =
      (trained.detach().to(at::kDouble) - generated.detach().to(at::kDouble)).contiguous();
  const at::Tensor all_versions = versions.to(at::kLong).contiguous();
  const at::Tensor valid = mask.contiguous();
  VersionReport report;
  std::map<int64_t, VersionMismatch> by_version;
  double n = 0;
  int64_t t = 0;
  for (size_t s = 0; s < lengths.size(); ++s) {
    std::set<int64_t> own;
    for (int32_t i = 0; i < lengths[s]; ++i, ++t) {
      if (!valid.const_data_ptr<bool>()[t]) continue;
      const int64_t version = all_versions.const_data_ptr<int64_t>()[t];
      const double difference = d.const_data_ptr<double>()[t];
      VersionMismatch& sums = by_version[version];
      sums.version = version;
      ++sums.n_actions;
      sums.k1 -= difference;
      sums.k3 += std::expm1(difference) - difference;
      sums.abs_mean += std::abs(difference);
      own.insert(version);
      const int64_t age = current_version - version;
      report.staleness_mean += static_cast<double>(age);
      report.staleness_max = n == 0 ? age : std::max(report.staleness_max, age);
      ++n;
    }
    if (own.size() > 1) report.mixed_sequences.push_back(static_cast<int64_t>(s));
  }
  if (n > 0) report.staleness_mean /= n;
  for (auto& [version, sums] : by_version) {
    sums.k1 /= sums.n_actions;
    sums.k3 /= sums.n_actions;
    sums.abs_mean /= sums.n_actions;
    report.by_version.push_back(sums);
  }
  return report;
}

void record_versions(metrics::Statistics& statistics, const VersionReport& report,
                     int64_t current_version) {
  double n = 0;
  for (const VersionMismatch& each : report.by_version) {
    n += each.n_actions;
    statistics.mean(base::concat("mismatch/age_", current_version - each.version, "/k3"),
                    each.k3 * each.n_actions, each.n_actions);
  }
  statistics.sum("mixed_sequences", static_cast<double>(report.mixed_sequences.size()));
  if (n == 0) return;
  statistics.mean("staleness", report.staleness_mean * n, n);
  statistics.max("staleness_max", static_cast<double>(report.staleness_max));
}

at::Tensor sampling_weight(const at::Tensor& policy_log_probs, const at::Tensor& drawn_log_probs,
                           double cap) {
  return (policy_log_probs.to(at::kDouble) - drawn_log_probs.to(at::kDouble)).exp().clamp_max(cap);
}

}  // namespace orrery::algorithm
