// A batch as sequences that can be dealt into minibatches: the answers of one prompt are kept
// together by the graph, but learned from one by one. Local.
#pragma once

#include <cstdint>
#include <vector>

#include "orrery/algorithm/interface.h"
#include "orrery/data/sequence_batch.h"

namespace orrery::algorithm {

/// The same tensors with every sequence as a sample of its own; ids are places, 0 .. N - 1. Keys
/// must have as many sequences as packed_input_ids has. Throws ShapeError where one has not.
data::SequenceBatch by_sequence(const data::SequenceBatch& batch);

/// A permutation of 0 .. n - 1 that depends on nothing but these numbers (Philox, Fisher-Yates).
struct MinibatchKey {
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t reuse = 0;  ///< how often the samples have been gone through before
  int data_rank = 0;
};
std::vector<int> minibatch_order(const MinibatchKey& key, int n);

/// `order` in n_parts consecutive pieces, as equal as possible, the first ones longer; pieces may
/// be empty.
std::vector<std::vector<int>> cut_minibatches(const std::vector<int>& order, int n_parts);

/// The sequences of every optimizer step of a train_step, in order: `ppo_epochs` times all
/// samples of `batch` (one a sequence) in a new random order, cut into `n_minibatches`.
std::vector<std::vector<int>> minibatches_of(const data::SequenceBatch& batch,
                                             const CallContext& call, int64_t n_minibatches,
                                             int64_t ppo_epochs);

}  // namespace orrery::algorithm
