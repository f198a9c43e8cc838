// Objectives of pairs of answers, a better and a worse one to the same prompt, from the
// log-probability of each answer. Sequences come in pairs: chosen, rejected, chosen, ... Pure and
// local. Shape letter: N sequences (even).
//
// With h = log_probs - ref_log_probs (log_probs alone where the objective has no reference),
// divided by the answer's length where LengthNormalization is kMean, and d = h_chosen - h_rejected,
// a pair costs (e: label_smoothing)
//   kDpo        -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d)
//                                                       Rafailov et al. 2023; Mitchell 2023 (cDPO)
//   kRobustDpo  (-(1 - e) log sigmoid(beta d) + e log sigmoid(-beta d)) / (1 - 2 e)
//                                                       Chowdhury et al. 2024
//   kIpo        (d - 1 / (2 beta))^2                    Azar et al. 2023
//   kHinge      max(0, 1 - beta d)                      Zhao et al. 2023, Liu et al. 2023
//   kSimpo      as kDpo with beta d - gamma             Meng et al. 2024
//   kCpo        as kDpo                                 Xu et al. 2024
//   kOrpo       -beta log sigmoid(o_chosen - o_rejected), o = a - log(1 - exp(a)), a the mean
//               log-probability of the answer's tokens  Hong et al. 2024
// kSimpo, kCpo and kOrpo have no reference. To the mean over the pairs comes nll_coef times the
// negative log-likelihood of the chosen answers (Pang et al. 2024).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "orrery/algorithm/loss_inputs.h"
#include "orrery/parallel/train_engine.h"  // LossResult

namespace orrery::algorithm {

enum class PairObjective { kDpo, kRobustDpo, kIpo, kHinge, kSimpo, kCpo, kOrpo };
enum class LengthNormalization { kNone, kMean };
enum class NllReduction {
  kTokenMean,     ///< mean over all tokens of the chosen answers
  kSequenceMean,  ///< mean over the chosen answers of their means
};

/// By the words of the configuration. Throw ConfigError for another one.
PairObjective pair_objective_named(std::string_view name);              // dpo, robust_dpo, ...
LengthNormalization length_normalization_named(std::string_view name);  // none, mean
NllReduction nll_reduction_named(std::string_view name);                // token_mean, ...

bool has_reference(PairObjective objective);
/// Whether a share of wrong labels means anything to it.
bool takes_label_smoothing(PairObjective objective);
/// Whether it is about the mean log-probability of a token and about nothing else.
bool is_per_token(PairObjective objective);

struct PairLossOptions {
  PairObjective objective = PairObjective::kDpo;
  double beta = 0.1;
  double label_smoothing = 0;
  LengthNormalization length_normalization = LengthNormalization::kNone;
  double gamma = 0;  ///< kSimpo: what the better answer should be ahead by, times beta
  double nll_coef = 0;
  NllReduction nll_reduction = NllReduction::kTokenMean;
  NonfiniteInput nonfinite = NonfiniteInput::kRefuse;
};

/// Throws ConfigError for a combination that has no meaning.
void check_options(const PairLossOptions& options);

struct PairInput {
  at::Tensor log_probs = {};      ///< [N] summed over the answer, differentiable
  at::Tensor ref_log_probs = {};  ///< [N] of the reference; undefined: none. Not read without one
  std::vector<int32_t> lengths;   ///< [N] tokens of the answers
};

/// Of a whole minibatch, all data ranks and micro-batches together: what means are over.
struct PairCounts {
  double pairs = 0;
  double chosen_tokens = 0;

  /// Of this input alone.
  static PairCounts of(const PairInput& input);
};

struct PairLosses {
  at::Tensor per_pair;          ///< [N / 2] differentiable, without the likelihood
  at::Tensor chosen_nll;        ///< [] this input's share of the mean over the minibatch
  at::Tensor log_odds_ratios;   ///< [N / 2] kOrpo only
  at::Tensor chosen_rewards;    ///< [N / 2] beta times the log-ratio; kSimpo, kOrpo: of a token
  at::Tensor rejected_rewards;  ///< [N / 2]
  parallel::LossResult result;  ///< loss_sum: times 1 / counts.pairs it is the share of the loss
};

/// Statistics per pair: chosen_reward, rejected_reward, reward_margin, accuracy (strictly larger
/// reward), chosen_nll with nll_coef, log_odds_ratio of kOrpo, ref_kl with a reference (minus the
/// summed log-ratio). Throws as check_options; ShapeError for an odd number or sizes that disagree,
/// CallError for an answer without a token where a mean over them is asked for, a mean
/// log-probability of 0 (kOrpo) and numbers that are not finite (NonfiniteInput::kRefuse).
PairLosses pair_losses(const PairInput& input, const PairLossOptions& options,
                       const PairCounts& counts);

}  // namespace orrery::algorithm
