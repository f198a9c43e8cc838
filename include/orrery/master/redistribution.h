// Which samples must move, and who sends them, so that every shard of a call has its data rank's
// samples. Three patterns:
//   direct          each data rank's need crosses into its group once, then spreads inside
//   gather-scatter  owners -> smallest owner -> everybody, as in the reference
//   bcast           per sample from the best holder to all that lack it, as in the reference
// A plan only says what moves; MovePlan is the form in which all three are carried out. Samples are
// slots, keys small integers. Pure; main thread of the master.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "orrery/master/storage_tracker.h"

namespace orrery::master {

enum class Pattern { kDirect, kGatherScatter, kBroadcast };

/// `direct`, `gather-scatter` or `bcast`. Throws ConfigError for another name. Local.
Pattern pattern_named(std::string_view name);

/// What one data rank wants: all of `workers` need all of `slots`.
struct Need {
  std::vector<int> workers;  ///< in rank order
  std::vector<int> slots;    ///< in batch order; may be empty
};

/// The question to a planner.
struct RedistributionProblem {
  std::span<const int> keys;                ///< all different
  std::span<const Need> needs;              ///< a worker at most once
  std::span<const uint64_t> order_of_slot;  ///< [n_slots] in which order lists name samples
  std::span<const int> node_of_worker;      ///< [n_workers]
};

enum class StepKind { kGather, kScatter, kBroadcast };

/// One collective step of a reference plan.
struct PlanStep {
  StepKind kind = StepKind::kGather;
  int root = 0;                 ///< receiver of a gather, sender of the others
  std::vector<int> peers = {};  ///< gather: sources; else destinations; ascending
  std::vector<int> lists = {};  ///< [peers] index into lists of slots; kBroadcast: one for all
  std::vector<int> keys = {};
};

struct ReferencePlan {
  std::vector<PlanStep> steps;
  std::vector<std::vector<int>> lists;  ///< of slots
};

// All planners throw CallError for a problem that names a key or worker twice, or a worker or slot
// that there is not. A slot that a need names twice is sent once.

/// Throws CallError: a wanted sample without owner, no sample wanted at all.
ReferencePlan plan_gather_scatter(const StorageTracker& tracker,
                                  const RedistributionProblem& problem);
/// Throws CallError: a wanted sample that nobody holds.
ReferencePlan plan_broadcast(const StorageTracker& tracker, const RedistributionProblem& problem);

/// Records the copies that a gather-scatter plan makes: scattered samples at their destinations,
/// gathered ones at the root. (For the other patterns record_needs.)
void record_plan(const ReferencePlan& plan, StorageTracker& tracker);
/// Records that every worker of every need has what it needs.
void record_needs(const RedistributionProblem& problem, StorageTracker& tracker);

/// `source` sends `keys` of the samples of a list to each destination. source is no destination.
struct Move {
  int source = 0;
  std::vector<int> destinations;
  int list = 0;
  std::vector<int> keys;
};

/// Phases follow one another; inside a phase the source of every move has its samples already, so
/// all its moves may run as one grouped exchange.
struct MovePlan {
  std::vector<std::vector<Move>> phases;
  std::vector<std::vector<int>> lists;  ///< of slots
};

/// Bytes of a key of a sample. [keys of the problem][n_slots]; only wanted slots are read.
using SlotBytes = std::vector<std::vector<int64_t>>;

/// Phase 0: from a holder to one worker of each data rank that lacks a sample, or inside the group
/// where one has it; phase 1: from that worker to the others of the group. A source on a node of
/// the group first, then the one that has the fewest bytes to send so far.
/// Throws CallError: a wanted sample that nobody holds.
MovePlan plan_direct(const StorageTracker& tracker, const RedistributionProblem& problem,
                     const SlotBytes& bytes);

/// The moves of a reference plan: gathers in phase 0, scatters in phase 1 (broadcasts in phase 0,
/// their sources have everything). Nothing is sent to oneself, nor twice to a root.
MovePlan lower(const ReferencePlan& plan);

/// Bytes that a plan sends between workers.
int64_t bytes_moved(const MovePlan& plan, const RedistributionProblem& problem,
                    const SlotBytes& bytes);

}  // namespace orrery::master
