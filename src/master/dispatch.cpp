#include "orrery/master/dispatch.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/data/partition.h"

namespace orrery::master {

namespace {

std::vector<int64_t> totals(std::span<const int> rows, int key, const RowMetadata& metadata) {
  std::vector<int64_t> result;
  result.reserve(rows.size());
  for (const int row : rows) result.push_back(metadata.elements(row, key));
  return result;
}

}  // namespace

int heaviest_key(std::span<const int> keys, std::span<const int> rows,
                 const RowMetadata& metadata) {
  int heaviest = -1;
  int64_t most = -1;
  for (const int key : keys) {
    int64_t total = 0;
    for (const int row : rows) total += metadata.elements(row, key);
    if (total > most) {
      most = total;
      heaviest = key;
    }
  }
  return heaviest;
}

std::vector<std::vector<int>> split_batch(const CallFacts& call, std::span<const int> rows,
                                          const RowMetadata& metadata) {
  if (rows.size() < base::index(call.data_size())) {
    throw CallError(base::concat("call ", call.name, ": too few samples to split"),
                    {.expected = base::concat("at least ", call.data_size(), ", one a data rank"),
                     .got = base::concat(rows.size()),
                     .advice = base::concat("raise call.", call.name, ".n_seqs")});
  }
  const std::vector<int64_t> weights =
      call.kind == graph::CallKind::kGenerate
          ? std::vector<int64_t>(rows.size(), 1)
          : totals(rows, heaviest_key(call.input_keys, rows, metadata), metadata);
  std::vector<std::vector<int>> parts =
      data::in_sorted_form(data::ffd_allocate(weights, {.min_groups = call.data_size()}).groups);
  // Without a limit on the sums there are as many groups as asked for.
  ORRERY_ASSERT(parts.size() == base::index(call.data_size()));
  for (std::vector<int>& part : parts) {
    for (int& place : part) place = rows[base::index(place)];
  }
  return parts;
}

metrics::Flops count_flops(const CallFacts& call, std::span<const int> rows,
                           const RowMetadata& metadata, const CallCost& cost) {
  if (cost.shape.n_layers == 0) return 0;
  const std::vector<int64_t> lengths =
      totals(rows, heaviest_key(call.input_keys, rows, metadata), metadata);
  switch (call.kind) {
    case graph::CallKind::kGenerate:
      return metrics::generate_flops(cost.shape, lengths, cost.n_new_tokens);
    case graph::CallKind::kInference:
      return metrics::forward_flops(cost.shape, lengths);
    case graph::CallKind::kTrainStep:
      return metrics::train_flops(cost.shape, lengths, cost.n_recomputed);
  }
  return 0;
}

Redistribution redistribute(Pattern pattern, const CallFacts& call,
                            const std::vector<std::vector<int>>& rows_of_data_rank,
                            const SampleState& samples) {
  std::vector<Need> needs;
  for (size_t d = 0; d < rows_of_data_rank.size(); ++d) {
    needs.push_back({call.group_workers[d], rows_of_data_rank[d]});
  }
  const RedistributionProblem problem{.keys = call.input_keys,
                                      .needs = needs,
                                      .order_of_slot = samples.id_of_row,
                                      .node_of_worker = samples.node_of_worker};
  SlotBytes bytes(call.input_keys.size());
  for (size_t k = 0; k < bytes.size(); ++k) {
    bytes[k].resize(base::index(samples.tracker->n_slots()));
    for (const Need& need : needs) {
      for (const int row : need.slots) {
        bytes[k][base::index(row)] = samples.metadata->bytes(row, call.input_keys[k]);
      }
    }
  }

  Redistribution result;
  StorageTracker& tracker = *samples.tracker;
  switch (pattern) {
    case Pattern::kDirect:
      result.moves = plan_direct(tracker, problem, bytes);
      record_needs(problem, tracker);
      break;
    case Pattern::kGatherScatter:
      result.reference = plan_gather_scatter(tracker, problem);
      result.moves = lower(result.reference);
      record_plan(result.reference, tracker);
      break;
    case Pattern::kBroadcast:
      result.reference = plan_broadcast(tracker, problem);
      result.moves = lower(result.reference);
      record_needs(problem, tracker);
      for (int d = 0; d < call.data_size(); ++d) {
        for (const int key : call.input_keys) {
          tracker.add(call.head_worker(d), rows_of_data_rank[base::index(d)], key,
                      Ownership::kOwner);
        }
      }
      break;
  }
  result.bytes = bytes_moved(result.moves, problem, bytes);
  return result;
}

data::BatchMetadata describe(std::span<const int> rows, std::span<const int> keys,
                             const SampleState& samples) {
  data::BatchMetadata batch;
  batch.ids.reserve(rows.size());
  for (const int row : rows) batch.ids.push_back({samples.id_of_row[base::index(row)]});
  batch.keys.reserve(keys.size());
  for (const int key : keys) {
    batch.keys.push_back(samples.metadata->assemble(rows, key));
    batch.keys.back().key = samples.keys->name(key);
  }
  return batch;
}

std::vector<std::vector<comm::Transfer>> transfers_of(const MovePlan& plan,
                                                      const SampleState& samples) {
  std::vector<std::vector<comm::Transfer>> phases;
  for (const std::vector<Move>& moves : plan.phases) {
    std::vector<comm::Transfer>& phase = phases.emplace_back();
    phase.reserve(moves.size());
    for (const Move& move : moves) {
      phase.push_back({.source = move.source,
                       .destinations = move.destinations,
                       .batch = describe(plan.lists[base::index(move.list)], move.keys, samples)});
    }
  }
  return phases;
}

}  // namespace orrery::master
