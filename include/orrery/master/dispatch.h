// From a batch of samples to what each worker must get: which data rank takes which samples, which
// samples must move first, and how many floating point operations that is. Nothing of this waits;
// one call is dispatched as a whole before anything else happens. Main thread of the master.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "orrery/comm/message.h"  // Transfer
#include "orrery/data/batch_metadata.h"
#include "orrery/master/call_facts.h"
#include "orrery/master/redistribution.h"
#include "orrery/master/row_metadata.h"
#include "orrery/master/storage_tracker.h"
#include "orrery/metrics/flops.h"

namespace orrery::master {

/// Splits the samples in `rows` over the call's data ranks: generation by number of samples, all
/// other calls by tokens, that is by total length in the input key with the largest grand total.
///   returns  [data ranks] rows, in batch order
/// Throws CallError for fewer samples than data ranks. Local.
std::vector<std::vector<int>> split_batch(const CallFacts& call, std::span<const int> rows,
                                          const RowMetadata& metadata);

/// The input key with the largest grand total over `rows`; the first one on a tie.
int heaviest_key(std::span<const int> keys, std::span<const int> rows, const RowMetadata& metadata);

/// What one operation count depends on besides the lengths.
struct CallCost {
  metrics::FlopsShape shape;  ///< all 0: nothing is counted
  int64_t n_new_tokens = 0;   ///< generation: decoding steps counted for each prompt
  int64_t n_recomputed = 0;   ///< training: layers that run again in backward
};

/// Floating point operations of a call over `rows`, by the lengths of its heaviest input key.
metrics::Flops count_flops(const CallFacts& call, std::span<const int> rows,
                           const RowMetadata& metadata, const CallCost& cost);

/// Where samples are and what is known of them; a sample is a row of the sequence buffer.
struct SampleState {
  RowMetadata* metadata = nullptr;
  StorageTracker* tracker = nullptr;
  std::span<const uint64_t> id_of_row;  ///< [rows]
  std::span<const int> node_of_worker;  ///< [workers]
  const KeyTable* keys = nullptr;
};

/// How a batch gets to the workers of a call.
struct Redistribution {
  ReferencePlan reference;  ///< empty for kDirect
  MovePlan moves;
  int64_t bytes = 0;  ///< between workers
};

/// Plans the moves and records the copies they make. For kBroadcast the data-parallel heads become
/// owners of all they get. Throws CallError when a sample is nowhere. Local.
Redistribution redistribute(Pattern pattern, const CallFacts& call,
                            const std::vector<std::vector<int>>& rows_of_data_rank,
                            const SampleState& samples);

/// Metadata of `keys` of the samples in `rows`, in this order.
data::BatchMetadata describe(std::span<const int> rows, std::span<const int> keys,
                             const SampleState& samples);

/// The moves as messages: [phases] transfers, in the order of the plan. Local.
std::vector<std::vector<comm::Transfer>> transfers_of(const MovePlan& plan,
                                                      const SampleState& samples);

}  // namespace orrery::master
