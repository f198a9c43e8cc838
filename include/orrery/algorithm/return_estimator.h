// From a batch of rewarded answers to masks, advantages and returns, with what is remembered from
// step to step: the weight of the KL reward and the moments of the returns. An actor and a critic
// each have one; given the same batches they stay equal. Main thread of a worker.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "orrery/algorithm/kl_controller.h"
#include "orrery/algorithm/policy_batch.h"
#include "orrery/algorithm/ppo_options.h"
#include "orrery/algorithm/value_norm.h"
#include "orrery/comm/communicator.h"
#include "orrery/data/sequence_batch.h"
#include "orrery/metrics/statistics.h"

namespace orrery::algorithm {

struct Estimate {
  PolicyBatch policy;              ///< advantages not normalised, returns in the units of rewards
  at::Tensor kept;                 ///< [N] bool: false where the answer was left out
  double kl_weight = 0;            ///< of the KL rewards, before it is steered on
  at::Tensor normalized_returns;   ///< [A] what a critic learns; the returns without value_norm
  metrics::Statistics statistics;  ///< of rewards, lengths, divergence
};

class ReturnEstimator {
 public:
  explicit ReturnEstimator(const EstimationOptions& options);

  /// In: packed_input_ids, prompt_mask [T], packed_logprobs [A], rewards, seq_no_eos_mask [N]; with
  /// kl_coef packed_ref_logprobs [A]; if bound, values [T] (normalised with value_norm) and
  /// dense_rewards [T]. Afterwards the KL weight and the moments are those for the next batch.
  /// A reward that is NaN (or a dense one within an answer) says that the answer is left out: it
  /// has weight 0 and is in no statistic but left_out_answers. Any other that is not finite, as it
  /// is or after scaling, throws CallError.
  /// Collective over `data_group`. Throws ShapeError when the sizes disagree.
  Estimate estimate(const data::SequenceBatch& input, comm::Communicator& data_group);

  const KlController& kl_controller() const { return kl_; }
  const ValueNorm& value_norm() const { return value_norm_; }
  /// KL weight and moments as text, to the last bit.
  std::string state() const;
  /// Goes on from the state of another one of the same options.
  void restore(double kl_coef, const ValueNormState& value_norm);
  /// The same from what state() gave. Throws CheckpointError for a text
  /// that state() did not give.
  void restore(const std::string& state);

 private:
  at::Tensor scores_of(const data::SequenceBatch& input, const at::Tensor& kept,
                       metrics::Statistics& statistics) const;
  void measure_divergence(const PolicyBatch& policy, int64_t n_sequences,
                          comm::Communicator& data_group, metrics::Statistics& statistics);

  EstimationOptions options_;
  KlController kl_;
  ValueNorm value_norm_;
};

}  // namespace orrery::algorithm
