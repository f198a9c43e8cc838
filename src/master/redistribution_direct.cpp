// The direct pattern. Per data rank and sample: if a worker of the group has it, it gives it to the
// others of the group; else one holder outside sends it to one worker of the group (phase 0), which
// passes it on (phase 1). Sources are chosen to balance the bytes that each has to send.
#include <algorithm>
#include <bit>
#include <utility>

#include "orrery/master/redistribution.h"
#include "redistribution_checks.h"

namespace orrery::master {

namespace {

size_t at(int index) { return static_cast<size_t>(index); }

/// Samples that take the same way: from `source` to `destinations`, by key of the problem.
struct Route {
  int source = 0;
  std::vector<int> destinations;
  int next_of_source = -1;              // the next route of this source
  std::vector<std::vector<int>> slots;  // [keys of the problem]
};

/// Routes of one need and phase, found by (source, destinations).
class Routes {
 public:
  Routes(int n_workers, size_t n_keys) : first_(at(n_workers), -1), n_keys_(n_keys) {}

  Route& find(int source, const std::vector<int>& destinations) {
    for (int i = first_[at(source)]; i >= 0; i = routes_[at(i)].next_of_source) {
      if (routes_[at(i)].destinations == destinations) return routes_[at(i)];
    }
    Route route{source, destinations, first_[at(source)], {}};
    route.slots.resize(n_keys_);
    first_[at(source)] = static_cast<int>(routes_.size());
    routes_.push_back(std::move(route));
    return routes_.back();
  }

  /// Appends a move for each route and set of keys with equal lists; forgets all routes.
  void append_to(std::vector<Move>& moves, std::vector<std::vector<int>>& lists,
                 std::span<const int> keys) {
    for (Route& route : routes_) {
      const size_t first_move = moves.size();
      for (size_t k = 0; k < n_keys_; ++k) {
        if (route.slots[k].empty()) continue;
        const auto same =
            std::find_if(moves.begin() + static_cast<std::ptrdiff_t>(first_move), moves.end(),
                         [&](const Move& move) { return lists[at(move.list)] == route.slots[k]; });
        if (same != moves.end()) {
          same->keys.push_back(keys[k]);
          continue;
        }
        moves.push_back(
            {route.source, route.destinations, static_cast<int>(lists.size()), {keys[k]}});
        lists.push_back(std::move(route.slots[k]));
      }
      first_[at(route.source)] = -1;
    }
    routes_.clear();
  }

 private:
  std::vector<int> first_;  // by worker: its newest route, or -1
  std::vector<Route> routes_;
  size_t n_keys_;
};

class DirectPlanner {
 public:
  DirectPlanner(const StorageTracker& tracker, const RedistributionProblem& problem,
                const SlotBytes& bytes)
      : tracker_(tracker),
        problem_(problem),
        bytes_(bytes),
        sent_(at(tracker.n_workers())),
        received_(at(tracker.n_workers())),
        entry_of_(at(tracker.n_workers()), -1),
        across_(tracker.n_workers(), problem.keys.size()),
        inside_(tracker.n_workers(), problem.keys.size()) {
    plan_.phases.resize(2);
  }

  MovePlan plan() {
    for (const Need& need : problem_.needs) plan_need(need);
    while (!plan_.phases.empty() && plan_.phases.back().empty()) plan_.phases.pop_back();
    return std::move(plan_);
  }

 private:
  void plan_need(const Need& need) {
    WorkerSet group(tracker_.n_workers());
    for (const int worker : need.workers) group.insert(worker);
    const WorkerSet near = on_nodes_of(need);
    for (const int slot : need.slots) {
      std::span<const uint64_t> before;  // holders of the sample under the key before
      int source = -1;
      for (size_t k = 0; k < problem_.keys.size(); ++k) {
        const std::span<const uint64_t> holders = tracker_.holders(slot, problem_.keys[k]);
        if (contains_all(holders, group)) continue;
        // Keys with the same holders travel together: fewer, larger messages.
        if (source < 0 || !std::equal(holders.begin(), holders.end(), before.begin(), before.end()))
          source = choose_source(holders, group, near);
        if (source < 0) throw_nobody_has(problem_, slot, problem_.keys[k]);
        before = holders;
        send(need, group, slot, k, holders, source);
      }
    }
    across_.append_to(plan_.phases[0], plan_.lists, problem_.keys);
    inside_.append_to(plan_.phases[1], plan_.lists, problem_.keys);
    for (const int worker : entered_by_) entry_of_[at(worker)] = -1;
    entered_by_.clear();
  }

  void send(const Need& need, const WorkerSet& group, int slot, size_t k,
            std::span<const uint64_t> holders, int source) {
    const int64_t size = bytes_[k][at(slot)];
    std::vector<int>& lacking = lacking_;
    lacking.clear();
    for (const int worker : need.workers) {
      if (!is_in(holders, worker)) lacking.push_back(worker);
    }
    if (group.contains(source)) {
      across_.find(source, lacking).slots[k].push_back(slot);
      sent_[at(source)] += size * static_cast<int64_t>(lacking.size());
      return;
    }
    const int entry = entry_from(source, need);  // nobody of the group has it, so it lacks it too
    entry_only_.assign(1, entry);
    across_.find(source, entry_only_).slots[k].push_back(slot);
    sent_[at(source)] += size;
    received_[at(entry)] += size;
    lacking.erase(std::find(lacking.begin(), lacking.end(), entry));
    if (lacking.empty()) return;
    inside_.find(entry, lacking).slots[k].push_back(slot);
    sent_[at(entry)] += size * static_cast<int64_t>(lacking.size());
  }

  /// A holder in the group, else one on its nodes, else any; the one with the least to send.
  int choose_source(std::span<const uint64_t> holders, const WorkerSet& group,
                    const WorkerSet& near) const {
    int source = least_loaded(holders, group.words());
    if (source < 0) source = least_loaded(holders, near.words());
    if (source < 0) source = least_loaded(holders, holders);
    return source;
  }

  int least_loaded(std::span<const uint64_t> holders, std::span<const uint64_t> mask) const {
    int best = -1;
    for (size_t i = 0; i < holders.size(); ++i) {
      for (uint64_t word = holders[i] & mask[i]; word != 0; word &= word - 1) {
        const int worker = static_cast<int>(i * 64) + std::countr_zero(word);
        if (best < 0 || sent_[at(worker)] < sent_[at(best)]) best = worker;
      }
    }
    return best;
  }

  /// The worker of the group that receives from `source`: one for all its samples, on its node if
  /// possible, then the one that has received least.
  int entry_from(int source, const Need& need) {
    int& entry = entry_of_[at(source)];
    if (entry >= 0) return entry;
    const auto rank = [&](int worker) {
      return std::pair(node(worker) != node(source), received_[at(worker)]);
    };
    entry = *std::min_element(need.workers.begin(), need.workers.end(),
                              [&](int a, int b) { return rank(a) < rank(b); });
    entered_by_.push_back(source);
    return entry;
  }

  WorkerSet on_nodes_of(const Need& need) const {
    WorkerSet near(tracker_.n_workers());
    for (int worker = 0; worker < tracker_.n_workers(); ++worker) {
      for (const int member : need.workers) {
        if (node(worker) == node(member)) near.insert(worker);
      }
    }
    return near;
  }

  static bool is_in(std::span<const uint64_t> holders, int worker) {
    return !holders.empty() && ((holders[at(worker) / 64] >> (at(worker) % 64)) & 1) != 0;
  }

  static bool contains_all(std::span<const uint64_t> holders, const WorkerSet& group) {
    if (holders.empty()) return group.empty();
    for (size_t i = 0; i < holders.size(); ++i) {
      if ((group.words()[i] & ~holders[i]) != 0) return false;
    }
    return true;
  }

  int node(int worker) const { return problem_.node_of_worker[at(worker)]; }

  const StorageTracker& tracker_;
  const RedistributionProblem& problem_;
  const SlotBytes& bytes_;
  std::vector<int64_t> sent_, received_;  // by worker, bytes of this plan so far
  std::vector<int> entry_of_;             // by source: where its samples enter the group at hand
  std::vector<int> entered_by_;           // sources that have an entry
  std::vector<int> lacking_;              // workers of the group without the sample at hand
  std::vector<int> entry_only_;           // {entry}, kept to allocate once
  Routes across_, inside_;
  MovePlan plan_;
};

}  // namespace

bool MovePlan::empty() const {
  return std::all_of(phases.begin(), phases.end(), [](const auto& phase) { return phase.empty(); });
}

MovePlan plan_direct(const StorageTracker& tracker, const RedistributionProblem& problem,
                     const SlotBytes& bytes) {
  check_keys_differ(problem.keys);
  return DirectPlanner(tracker, problem, bytes).plan();
}

MovePlan lower(const ReferencePlan& plan) {
  MovePlan moves;
  moves.phases.resize(2);
  moves.lists = plan.lists;
  for (const PlanStep& step : plan.steps) {
    if (step.kind == StepKind::kBroadcast) {
      moves.phases[0].push_back({step.root, step.peers, step.lists.front(), step.keys});
      continue;
    }
    if (step.kind == StepKind::kScatter) {
      // Destinations with the same list share one move.
      const size_t first_move = moves.phases[1].size();
      for (size_t i = 0; i < step.peers.size(); ++i) {
        if (step.peers[i] == step.root) continue;
        const auto same = std::find_if(
            moves.phases[1].begin() + static_cast<std::ptrdiff_t>(first_move),
            moves.phases[1].end(), [&](const Move& move) { return move.list == step.lists[i]; });
        if (same != moves.phases[1].end()) {
          same->destinations.push_back(step.peers[i]);
        } else {
          moves.phases[1].push_back({step.root, {step.peers[i]}, step.lists[i], step.keys});
        }
      }
      continue;
    }
    // A sample held by several sources is listed under each of them; the first one sends it.
    std::vector<bool> listed;
    for (size_t i = 0; i < step.peers.size(); ++i) {
      std::vector<int> fresh;
      for (const int slot : plan.lists[at(step.lists[i])]) {
        if (at(slot) >= listed.size()) listed.resize(at(slot) + 1);
        if (!listed[at(slot)]) fresh.push_back(slot);
        listed[at(slot)] = true;
      }
      if (step.peers[i] == step.root || fresh.empty()) continue;
      moves.phases[0].push_back(
          {step.peers[i], {step.root}, static_cast<int>(moves.lists.size()), step.keys});
      moves.lists.push_back(std::move(fresh));
    }
  }
  while (!moves.phases.empty() && moves.phases.back().empty()) moves.phases.pop_back();
  return moves;
}

int64_t bytes_moved(const MovePlan& plan, const RedistributionProblem& problem,
                    const SlotBytes& bytes) {
  int64_t total = 0;
  for (const std::vector<Move>& phase : plan.phases) {
    for (const Move& move : phase) {
      for (const int key : move.keys) {
        const auto place = std::find(problem.keys.begin(), problem.keys.end(), key);
        const auto& of_key = bytes[static_cast<size_t>(place - problem.keys.begin())];
        int64_t size = 0;
        for (const int slot : plan.lists[at(move.list)]) size += of_key[at(slot)];
        total += size * static_cast<int64_t>(move.destinations.size());
      }
    }
  }
  return total;
}

}  // namespace orrery::master
