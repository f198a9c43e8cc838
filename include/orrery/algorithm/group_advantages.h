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
  kLengthWeighted,  ///< r - mean of the group weighted by length (OPO, arXiv 2505.23585)
  kMaxRl,           ///< (r - mean) / mean, 0 for a mean of 0 (arXiv 2602.02710)
  kPassAtK,         ///< rewards 0 or 1: what an answer adds to pass@k (arXiv 2508.10751)
  kLeaveOneOutMax,  ///< best of all - best of the others (arXiv 2503.19595)
};

/// Whether the estimator is defined for such a reward: pass@k for 0 and 1, maxrl from 0 on.
bool is_defined_for(GroupEstimator estimator, double reward);

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
GroupEstimator group_estimator_named(std::string_view name);  // grpo, dr_grpo, rloo, opo, ...
StdScope std_scope_named(std::string_view name);              // group, batch
Variance variance_named(std::string_view name);               // population, sample
EpsMode eps_mode_named(std::string_view name);                // added_to_std, ...
SingleAnswer single_answer_named(std::string_view name);      // zero, keep_reward

struct GroupOptions {
  GroupEstimator estimator = GroupEstimator::kStandardised;
  StdScope scope = StdScope::kGroup;
  Variance variance = Variance::kPopulation;
  double eps = 1e-5;
  EpsMode eps_mode = EpsMode::kAddedToStd;
  SingleAnswer single_answer = SingleAnswer::kZero;
  int64_t k = 0;  ///< kPassAtK: at least 1
};

/// rewards [N] floating, kept [N] bool (undefined: all) -> [N] fp64. An answer that is not kept is
/// no member of its group: in no mean or deviation, advantage 0; its reward may be NaN. Where all
/// kept rewards of a group are equal, or there is one, the advantage is exactly 0.
/// With StdScope::kBatch collective over `ranks` (null: this rank is all there is); else local.
/// `lengths` [N], actions of each answer, for kLengthWeighted.
/// Throws ShapeError when the sizes disagree, CallError for a kept reward that is not finite, or
/// not what the estimator is defined for (kMaxRl: at least 0; kPassAtK: 0 or 1, and k answers or
/// more in every group that has any).
at::Tensor group_advantages(const at::Tensor& rewards, const std::vector<int32_t>& group_sizes,
                            const at::Tensor& kept, const GroupOptions& options,
                            comm::Communicator* ranks = nullptr,
                            const std::vector<int32_t>& lengths = {});

/// Sum over the reward functions of weight * reward, [N] fp64. Throws ShapeError when the sizes
/// disagree or there is none.
at::Tensor weighted_rewards(const std::vector<at::Tensor>& rewards,
                            const std::vector<double>& weights);

/// Each reward function standardised in its group, their weighted sum standardised over all kept
/// answers of all ranks, both with the options' variance and epsilon (GDPO, arXiv 2601.05242).
///   rewards  [N] of each function; the rest as group_advantages
/// Collective over `ranks`.
at::Tensor decoupled_group_advantages(const std::vector<at::Tensor>& rewards,
                                      const std::vector<double>& weights,
                                      const std::vector<int32_t>& group_sizes,
                                      const at::Tensor& kept, const GroupOptions& options,
                                      comm::Communicator* ranks = nullptr);

/// (x - mean) / divisor over the kept entries of all ranks; 0 at the others, and exactly 0
/// everywhere when all kept entries are equal.
///   x [n] floating, kept [n] bool or undefined (all) -> [n] fp64
/// Collective over `ranks`.
at::Tensor standardised(const at::Tensor& x, const at::Tensor& kept, const GroupOptions& options,
                        comm::Communicator* ranks = nullptr);

}  // namespace orrery::algorithm
