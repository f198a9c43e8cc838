// The difference between the policy that generated and the one that the training engine computes,
// corrected by importance weights: truncated (Yao et al. 2025) or masked (Liu, Li et al. 2025;
// IcePop, arXiv 2510.18855), of actions or of whole sequences. Local; in double. Shape letters: N
// sequences, A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace orrery::algorithm {

enum class CorrectionMode {
  kTruncate,  ///< the ratio within the bounds
  kMask,      ///< what lies outside the bounds is dropped
};
/// exp of old - behaviour of an action, of the sum, or of the mean over its sequence's actions.
enum class CorrectionLevel { kToken, kSequence, kGeometric };
enum class MaskWeight { kRatio, kOne };

/// truncate, mask; token, sequence, geometric; ratio, one. Throw ConfigError for another name.
CorrectionMode correction_mode_named(std::string_view name);
CorrectionLevel correction_level_named(std::string_view name);
MaskWeight mask_weight_named(std::string_view name);

struct CorrectionOptions {
  CorrectionMode mode = CorrectionMode::kTruncate;
  CorrectionLevel level = CorrectionLevel::kToken;
  std::optional<double> lower = {};
  std::optional<double> upper = {};
  MaskWeight mask_weight = MaskWeight::kRatio;
  /// A sequence with the ratio of one action outside is dropped whole.
  std::optional<double> veto_ratio_min = {};
  std::optional<double> veto_ratio_max = {};
  std::optional<int64_t> max_staleness = {};  ///< older actions are dropped
  std::optional<int64_t> current_version = {};
};

/// Throws ConfigError for bounds that are negative or out of order, a staleness below 0.
void check(const CorrectionOptions& options);

struct CorrectionInput {
  std::vector<int32_t> lengths = {};    ///< [N] actions
  at::Tensor behaviour_log_probs = {};  ///< [A] by the generator
  at::Tensor old_log_probs = {};        ///< [A] by the training engine, before the step
  at::Tensor versions = {};  ///< [A] int64, of the weights that generated; may be undefined
  at::Tensor mask = {};      ///< [A] bool
};

struct RolloutCorrection {
  at::Tensor weights = {};                     ///< [A] fp64, 0 where dropped or masked
  at::Tensor kept = {};                        ///< [A] bool
  std::vector<int64_t> vetoed_sequences = {};  ///< ascending
  double n_valid = 0;
  double n_above = 0;  ///< valid actions whose ratio is above the upper bound, vetoes aside
  double n_below = 0;
  double n_kept = 0;
  double weight_sum = 0;
  double weight_square_sum = 0;

  /// (sum w)^2 / (n sum w^2); 0 where nothing is kept.
  double effective_sample_fraction() const;
};

/// Throws ShapeError when the sizes differ, CallError for log-probabilities of valid actions that
/// are not finite and for a version above the current one, ConfigError for options that check()
/// refuses or a staleness without versions.
RolloutCorrection rollout_correction(const CorrectionInput& input,
                                     const CorrectionOptions& options);

}  // namespace orrery::algorithm
