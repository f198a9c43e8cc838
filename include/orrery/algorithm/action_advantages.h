// Advantages of actions without a critic (REINFORCE++, arXiv 2501.03262): discounted returns of the
// answer's reward and of KL rewards, whitened over the batch. In double. Shape letters: N
// sequences, A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "orrery/algorithm/group_advantages.h"
#include "orrery/algorithm/objective_options.h"
#include "orrery/comm/communicator.h"

namespace orrery::algorithm {

struct ActionAdvantageInput {
  at::Tensor rewards = {};                ///< [N] of the answers
  std::vector<int32_t> group_sizes = {};  ///< answers to each prompt
  at::Tensor kept = {};                   ///< [N] bool; undefined: all
  std::vector<int32_t> lengths = {};      ///< [N] actions
  at::Tensor mask = {};                   ///< [A] bool
  at::Tensor log_probs = {};              ///< [A] with kl_coef
  at::Tensor ref_log_probs = {};          ///< [A] with kl_coef
};

enum class WhitenScope {
  kActions,    ///< moments over all valid actions of kept answers
  kSequences,  ///< over the kept answers' rewards, each counted once; without KL and discount
};

/// Whether the estimator of this name (reinforce_plus_plus, reinforce_plus_plus_baseline) takes the
/// group's mean off. Throws ConfigError for another name.
bool takes_group_mean(std::string_view estimator);

/// `actions` or `sequences`. Throws ConfigError for another name.
WhitenScope whiten_scope_named(std::string_view name);

struct ActionAdvantageOptions {
  bool takes_group_mean = false;  ///< the group's mean reward is taken off first
  double kl_coef = 0;
  KlEstimator kl_estimator = KlEstimator::kK1;
  double log_ratio_limit = 0;  ///< as in kl_estimate
  double discount = 1;         ///< for each valid action
  WhitenScope scope = WhitenScope::kActions;
  GroupOptions whiten = {};  ///< variance, eps and eps_mode of it
};

/// Both [A] fp64, 0 where masked and for answers that are not kept.
struct ActionAdvantages {
  at::Tensor returns = {};
  at::Tensor advantages = {};
};

/// Collective over `ranks`. Throws ShapeError when the sizes disagree, CallError for a kept reward
/// that is not finite, ConfigError for a KL term without its log-probabilities, for one or a
/// discount with WhitenScope::kSequences, and for a discount outside 0 .. 1.
ActionAdvantages action_advantages(const ActionAdvantageInput& input,
                                   const ActionAdvantageOptions& options,
                                   comm::Communicator* ranks = nullptr);

}  // namespace orrery::algorithm
