// The bcast pattern: every (sample, key) from the best holder to all that lack it, equal transfers
// joined, and the joined ones put into rounds in which no worker sends or receives twice.
#include <algorithm>
#include <bit>
#include <string_view>
#include <unordered_map>

#include "orrery/base/index.h"
#include "orrery/master/redistribution.h"
#include "redistribution_checks.h"

namespace orrery::master {

namespace {

/// All samples that go from one source under one key to the same targets.
struct Broadcast {
  int source = 0;
  int key = 0;
  std::vector<int> targets;  // ascending
  std::vector<int> slots;
};

/// Transfers of one (source, key), in order of creation.
struct Lane {
  int source = 0;
  std::vector<int> transfers;
};

class BroadcastPlanner {
 public:
  BroadcastPlanner(const StorageTracker& tracker, const RedistributionProblem& problem)
      : tracker_(tracker), problem_(problem), load_(base::index(tracker.n_workers())) {
    for (const int node : problem.node_of_worker) {
      if (base::index(node) >= targets_on_node_.size())
        targets_on_node_.resize(base::index(node) + 1);
    }
    lane_of_.assign(base::index(tracker.n_workers()) * (problem.keys.size() + 1), -1);
  }

  ReferencePlan plan() {
    collect_wanting();
    for (const int slot : slots_) {
      for (size_t k = 0; k < problem_.keys.size(); ++k) plan_sample(slot, k);
    }
    return in_rounds();
  }

 private:
  /// Slots in order of first appearance, and for each the workers that want it, in that order.
  void collect_wanting() {
    wanting_.resize(problem_.order_of_slot.size());
    for (const Need& need : problem_.needs) {
      for (const int worker : need.workers) {
        for (const int slot : need.slots) {
          std::vector<int>& workers = wanting_[base::index(slot)];
          if (workers.empty()) slots_.push_back(slot);
          // A need may name a sample twice; it is sent once.
          if (workers.empty() || workers.back() != worker) workers.push_back(worker);
        }
      }
    }
  }

  void plan_sample(int slot, size_t key_place) {
    const int key = problem_.keys[key_place];
    std::vector<int> targets;
    for (const int worker : wanting_[base::index(slot)]) {
      if (!tracker_.holds(worker, slot, key)) targets.push_back(worker);
    }
    if (targets.empty()) return;
    const int source = best_source(slot, key, targets);
    load_[base::index(source)] += static_cast<int64_t>(targets.size());
    std::sort(targets.begin(), targets.end());
    int& lane = lane_of_[base::index(source) * problem_.keys.size() + key_place];
    if (lane < 0) {
      lane = static_cast<int>(lanes_.size());
      lanes_.push_back({source, {}});
    }
    transfer_to(lanes_[base::index(lane)], key, std::move(targets)).slots.push_back(slot);
  }

  int best_source(int slot, int key, const std::vector<int>& targets) {
    for (const int target : targets) ++targets_on_node_[base::index(node(target))];
    int best = -1;
    const std::span<const uint64_t> holders = tracker_.holders(slot, key);
    for (size_t i = 0; i < holders.size(); ++i) {
      for (uint64_t word = holders[i]; word != 0; word &= word - 1) {
        const int worker = static_cast<int>(i * 64) + std::countr_zero(word);
        if (best < 0 || is_better(worker, best)) best = worker;
      }
    }
    for (const int target : targets) --targets_on_node_[base::index(node(target))];
    if (best < 0) throw_nobody_has(problem_, slot, key);
    return best;
  }

  /// `worker` comes after `other` in number, so it wins only when it is strictly better.
  bool is_better(int worker, int other) const {
    const int near = targets_on_node_[base::index(node(worker))];
    const int other_near = targets_on_node_[base::index(node(other))];
    if (near != other_near) return near > other_near;
    return load_[base::index(worker)] < load_[base::index(other)];
  }

  Broadcast& transfer_to(Lane& lane, int key, std::vector<int> targets) {
    for (auto i = lane.transfers.rbegin(); i != lane.transfers.rend(); ++i) {
      if (transfers_[base::index(*i)].targets == targets) return transfers_[base::index(*i)];
    }
    lane.transfers.push_back(static_cast<int>(transfers_.size()));
    transfers_.push_back({lane.source, key, std::move(targets), {}});
    return transfers_.back();
  }

  ReferencePlan in_rounds() {
    ReferencePlan plan;
    std::vector<int> sent_in_round(base::index(tracker_.n_workers()), -1);
    std::vector<int> received_in_round(base::index(tracker_.n_workers()), -1);
    for (int round = 0; plan.steps.size() < transfers_.size(); ++round) {
      for (Lane& lane : lanes_) {
        if (lane.transfers.empty() || sent_in_round[base::index(lane.source)] == round) continue;
        const auto next =
            std::find_if(lane.transfers.begin(), lane.transfers.end(), [&](int transfer) {
              const std::vector<int>& targets = transfers_[base::index(transfer)].targets;
              return std::none_of(targets.begin(), targets.end(), [&](int target) {
                return received_in_round[base::index(target)] == round;
              });
            });
        if (next == lane.transfers.end()) continue;
        Broadcast& transfer = transfers_[base::index(*next)];
        sent_in_round[base::index(lane.source)] = round;
        for (const int target : transfer.targets) received_in_round[base::index(target)] = round;
        PlanStep step{.kind = StepKind::kBroadcast, .root = transfer.source, .peers = {}};
        step.peers = std::move(transfer.targets);
        step.lists = {static_cast<int>(plan.lists.size())};
        step.keys = {transfer.key};
        plan.lists.push_back(std::move(transfer.slots));
        plan.steps.push_back(std::move(step));
        lane.transfers.erase(next);
      }
    }
    return plan;
  }

  int node(int worker) const { return problem_.node_of_worker[base::index(worker)]; }

  const StorageTracker& tracker_;
  const RedistributionProblem& problem_;
  std::vector<int64_t> load_;         // by worker: targets given to it so far
  std::vector<int> targets_on_node_;  // of the sample at hand
  std::vector<int> slots_;
  std::vector<std::vector<int>> wanting_;  // by slot
  std::vector<Broadcast> transfers_;
  std::vector<Lane> lanes_;   // in order of their first transfer
  std::vector<int> lane_of_;  // [worker][key place]
};

}  // namespace

ReferencePlan plan_broadcast(const StorageTracker& tracker, const RedistributionProblem& problem) {
  check_problem(tracker, problem);
  return BroadcastPlanner(tracker, problem).plan();
}

}  // namespace orrery::master
