// The loss of a policy: ratio, surrogate, factors, aggregation, KL divergence, entropy bonus, in
// this order. Local: a micro-batch of whole sequences gives sums that are divided by what the whole
// minibatch of all data ranks weighs. Shape letters: N sequences, A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "orrery/algorithm/objective_options.h"
#include "orrery/comm/communicator.h"

namespace orrery::algorithm {

/// All [A]; what is masked may hold anything. Undefined: not given.
struct ObjectiveInput {
  std::vector<int32_t> lengths = {};   ///< [N] actions of each sequence
  at::Tensor log_probs = {};           ///< of the model being trained, differentiable
  at::Tensor old_log_probs = {};       ///< of the policy that generated
  at::Tensor proximal_log_probs = {};  ///< Proximal::kGiven: before this train step
  at::Tensor ref_log_probs = {};
  at::Tensor advantages = {};
  at::Tensor entropies = {};        ///< differentiable
  at::Tensor high_entropy = {};     ///< bool, of high_entropy_mask; with top_fraction
  at::Tensor rollout_weights = {};  ///< factors of the policy loss
  at::Tensor versions = {};         ///< int64, of the weights that generated
  at::Tensor mask = {};             ///< bool
};

/// What the sums of a minibatch are divided by.
struct MinibatchTotals {
  double weight = 0;          ///< of policy loss and KL divergence
  double entropy_weight = 0;  ///< of the entropies; differs with EntropyAggregation::kTokenMean
};

/// Of these sequences; of a minibatch the sums over its parts.
///   high_entropy [A] bool or undefined, as in the input
MinibatchTotals totals_of(const std::vector<int32_t>& lengths, const at::Tensor& mask,
                          const at::Tensor& high_entropy, const ObjectiveOptions& options);
/// Their sums over all ranks. Collective over `ranks` (null: this rank is all there is).
MinibatchTotals summed_over(const MinibatchTotals& own, comm::Communicator* ranks);

/// Only what is called so is differentiable. Undefined: there is no such term.
struct PolicyLoss {
  at::Tensor loss_sum = {};    ///< [] differentiable; the loss is this divided by totals.weight
  at::Tensor policy_sum = {};  ///< [] without KL divergence and entropy
  at::Tensor kl_sum = {};      ///< [] before its coefficient
  at::Tensor entropy_sum =
      {};                     ///< [] before its coefficient; to be divided by totals.entropy_weight
  at::Tensor loss = {};       ///< [A] after the factors; not masked
  at::Tensor kl = {};         ///< [A] what is summed, 0 where masked
  at::Tensor ratio = {};      ///< [A] as used (gmpo: of tokens), without a limit, 0 where masked
  at::Tensor log_ratio = {};  ///< [A] of tokens, without a limit, not masked
  at::Tensor clipped_low = {};  ///< [A] bool
  at::Tensor clipped_high = {};
  at::Tensor clipped_dual = {};
  at::Tensor bounded_mask = {};      ///< [A] bool: a log-ratio was beyond the limit
  at::Tensor behaviour_weight = {};  ///< [A] exp(proximal - old), 0 where masked or above the cap
  at::Tensor behaviour_log_ratio = {};  ///< [A] proximal - old, likewise
  at::Tensor behaviour_mask = {};       ///< [A] bool: kept by the cap
  at::Tensor current_weight = {};       ///< [A] Proximal::kInterpolated
  at::Tensor proximal_log_probs = {};   ///< [A]
};

/// Whether the loss needs nothing but the tensors of single actions, wherever these are: no means
/// over sequences, no versions. Then policy_objective() reads no number on the host.
bool is_of_single_actions(const ObjectiveOptions& options);

/// Throws ConfigError for options that check() refuses or whose input is missing, ShapeError for
/// sizes that differ, CallError for a version above the current one.
PolicyLoss policy_objective(const ObjectiveInput& input, const ObjectiveOptions& options,
                            const MinibatchTotals& totals);

}  // namespace orrery::algorithm
