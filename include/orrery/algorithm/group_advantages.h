// Advantages of answers from the rewards of the other answers to the same prompt: one number an
// answer, however long it is. Shape letter: N sequences; `group_sizes` says how many consecutive
// ones answer one prompt. All in double.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "orrery/algorithm/advantages.h"  // Variance
#include "orrery/comm/communicator.h"
#include "orrery/data/nested_lengths.h"

namespace orrery::algorithm {

/// How many answers each prompt of a batch has: the sizes of its groups.
std::vector<int32_t> group_sizes_of(const data::NestedLengths& tokens);

enum class GroupEstimator {
  kStandardised,  ///< (r - mean of the group) / deviation (Shao et al. 2024, GRPO)
  kMeanOnly,      ///< r - mean of the group (Liu et al. 2025, Dr. GRPO)
  kLeaveOneOut,   ///< r - mean of the other answers (Kool et al. 2019; Ahmadian et al. 2024, RLOO)
};

/// Whose deviation an answer is divided by.
enum class StdScope {
  kGroup,
  kBatch,  ///< that of all rewards of all data ranks
};

/// How epsilon keeps the divisor above 0.
enum class EpsMode {
  kAddedToStd,       ///< sqrt(variance) + eps
  kAddedToVariance,  ///< sqrt(variance + eps)
  kVarianceFloor,    ///< sqrt(max(variance, eps))
};

/// What leave-one-out makes of an answer that is alone in its group.
enum class SingleAnswer { kZero, kKeepsReward };

/// By the words of the configuration. Throw ConfigError for another one.
Variance variance_named(std::string_view name);           // population, sample
EpsMode eps_mode_named(std::string_view name);            // added_to_std, ...
SingleAnswer single_answer_named(std::string_view name);  // zero, keep_reward

struct GroupOptions {
  GroupEstimator estimator = GroupEstimator::kStandardised;
  StdScope scope = StdScope::kGroup;
  Variance variance = Variance::kPopulation;
  double eps = 1e-5;
  EpsMode eps_mode = EpsMode::kAddedToStd;
  SingleAnswer single_answer = SingleAnswer::kZero;
};

/// rewards [N] floating, kept [N] bool (undefined: all) -> [N] fp64. An answer that is not kept is
/// no member of its group: in no mean or deviation, advantage 0; its reward may be NaN. Where all
/// kept rewards of a group are equal, or there is one, the advantage is exactly 0.
/// With StdScope::kBatch collective over `ranks` (null: this rank is all there is); else local.
/// Throws ShapeError when the sizes disagree, CallError for a kept reward that is not finite.
at::Tensor group_advantages(const at::Tensor& rewards, const std::vector<int32_t>& group_sizes,
                            const at::Tensor& kept, const GroupOptions& options,
                            comm::Communicator* ranks = nullptr);

}  // namespace orrery::algorithm
