// The direct pattern. Per data rank and sample: if a worker of the group has it, it gives it to the
// others of the group; else one holder outside sends it to one worker of the group (phase 0), which
// passes it on (phase 1). Sources are chosen to balance the bytes that each has to send.
#include <algorithm>
#include <bit>
#include <utility>

#include "orrery/base/index.h"
#include "orrery/master/redistribution.h"
#include "redistribution_checks.h"

namespace orrery::master {

namespace {

/// Keys of the problem as bits; problems with more are planned in parts.
constexpr size_t kKeysAtOnce = 64;

/// Samples that go from `source` to `destinations`.
struct Route {
  /// Those that go under the same keys.
  struct Load {
    uint64_t keys = 0;
    std::vector<int> slots;
  };
  int source = 0;
  std::vector<int> destinations;
  int next_of_source = -1;  // the next route of this source
  std::vector<Load> loads;
};

/// Routes of one need and phase, found by (source, destinations).
class Routes {
 public:
  explicit Routes(int n_workers) : first_(base::index(n_workers), -1) {}

  void add(int source, const std::vector<int>& destinations, uint64_t keys, int slot) {
    std::vector<Route::Load>& loads = find(source, destinations).loads;
    for (Route::Load& load : loads) {
      if (load.keys != keys) continue;
      load.slots.push_back(slot);
      return;
    }
    loads.push_back({keys, {slot}});
  }

  /// Appends a move for each load; forgets all routes.
  void append_to(std::vector<Move>& moves, std::vector<std::vector<int>>& lists,
                 std::span<const int> keys) {
    for (Route& route : routes_) {
      for (Route::Load& load : route.loads) {
        moves.push_back({route.source, route.destinations, static_cast<int>(lists.size()), {}});
        lists.push_back(std::move(load.slots));
        for (uint64_t bits = load.keys; bits != 0; bits &= bits - 1) {
          moves.back().keys.push_back(keys[static_cast<size_t>(std::countr_zero(bits))]);
        }
      }
      first_[base::index(route.source)] = -1;
    }
    routes_.clear();
  }

 private:
  Route& find(int source, const std::vector<int>& destinations) {
    for (int i = first_[base::index(source)]; i >= 0; i = routes_[base::index(i)].next_of_source) {
      if (routes_[base::index(i)].destinations == destinations) return routes_[base::index(i)];
    }
    routes_.push_back({source, destinations, first_[base::index(source)], {}});
    first_[base::index(source)] = static_cast<int>(routes_.size()) - 1;
    return routes_.back();
  }

  std::vector<int> first_;  // by worker: its newest route, or -1
  std::vector<Route> routes_;
};

/// Sets of workers as bits: those of a need, and all on their nodes.
struct Places {
  std::span<const uint64_t> group;
  std::span<const uint64_t> near;
};

/// The members of `holders` that are in `mask`.
struct Candidates {
  std::span<const uint64_t> holders;
  std::span<const uint64_t> mask;
  int n = 0;  // 2 stands for two or more
};

/// Keys of the sample at hand that take one way; `holders` as for the first of them.
struct Way {
  int source = 0;
  uint64_t keys = 0;
  int64_t bytes = 0;
  std::span<const uint64_t> holders;
};

/// Where samples from the workers of a node (-1: of nodes without a worker of the group) enter.
struct Entry {
  int node = -1;
  int worker = -1;
};

class DirectPlanner {
 public:
  DirectPlanner(const StorageTracker& tracker, const RedistributionProblem& problem,
                const SlotBytes& bytes)
      : tracker_(tracker),
        problem_(problem),
        bytes_(bytes),
        sent_(base::index(tracker.n_workers())),
        received_(base::index(tracker.n_workers())),
        planned_(base::index(tracker.n_slots())),
        across_(tracker.n_workers()),
        inside_(tracker.n_workers()) {
    plan_.phases.resize(2);
  }

  MovePlan plan() {
    for (const Need& need : problem_.needs) {
      for (size_t first = 0; first < problem_.keys.size(); first += kKeysAtOnce) {
        first_key_ = first;
        keys_ = problem_.keys.subspan(first, std::min(kKeysAtOnce, problem_.keys.size() - first));
        plan_need(need);
      }
    }
    while (!plan_.phases.empty() && plan_.phases.back().empty()) plan_.phases.pop_back();
    return std::move(plan_);
  }

 private:
  void plan_need(const Need& need) {
    WorkerSet group(tracker_.n_workers());
    for (const int worker : need.workers) group.insert(worker);
    const WorkerSet near = on_nodes_of(need);
    ++n_planned_;
    for (const int slot : need.slots) {
      // A need may name a sample twice; it is sent once.
      if (std::exchange(planned_[base::index(slot)], n_planned_) == n_planned_) continue;
      plan_sample(need, {group.words(), near.words()}, slot);
    }
    across_.append_to(plan_.phases[0], plan_.lists, keys_);
    inside_.append_to(plan_.phases[1], plan_.lists, keys_);
    entries_.clear();
  }

  /// Chooses sources for the keys of a sample so that as few as possible are asked: where only one
  /// worker can give a key, the others keys come from it as well if it has them.
  void plan_sample(const Need& need, const Places& places, int slot) {
    asked_.clear();
    open_.clear();
    ways_.clear();
    for (size_t k = 0; k < keys_.size(); ++k) {
      const std::span<const uint64_t> holders = tracker_.holders(slot, keys_[k]);
      if (contains_all(holders, places.group)) continue;
      const Candidates candidates = nearest(holders, places);
      if (candidates.n == 0) throw_nobody_has(problem_, slot, keys_[k]);
      if (candidates.n > 1) {
        open_.emplace_back(k, candidates);
        continue;
      }
      const int source = least_loaded(candidates);
      asked_.push_back(source);
      add_way(source, k, slot, holders, places);
    }
    for (const auto& [k, candidates] : open_) {
      const auto is_candidate = [mask = candidates.mask, holders = candidates.holders](int worker) {
        return is_in(holders, worker) && is_in(mask, worker);
      };
      const auto again = std::find_if(asked_.begin(), asked_.end(), is_candidate);
      const int source = again != asked_.end() ? *again : least_loaded(candidates);
      if (again == asked_.end()) asked_.push_back(source);
      add_way(source, k, slot, candidates.holders, places);
    }
    for (const Way& way : ways_) send(need, places, slot, way);
  }

  /// Joins keys that come from the same source and are lacking at the same workers.
  void add_way(int source, size_t k, int slot, std::span<const uint64_t> holders,
               const Places& places) {
    const int64_t size = bytes_[first_key_ + k][base::index(slot)];
    for (Way& way : ways_) {
      if (way.source != source || !equal_in(places.group, way.holders, holders)) continue;
      way.keys |= uint64_t{1} << k;
      way.bytes += size;
      return;
    }
    ways_.push_back({source, uint64_t{1} << k, size, holders});
  }

  void send(const Need& need, const Places& places, int slot, const Way& way) {
    lacking_.clear();
    for (const int worker : need.workers) {
      if (!is_in(way.holders, worker)) lacking_.push_back(worker);
    }
    if (is_in(places.group, way.source)) {
      across_.add(way.source, lacking_, way.keys, slot);
      sent_[base::index(way.source)] += way.bytes * static_cast<int64_t>(lacking_.size());
      return;
    }
    const int entry = entry_from(way.source, need);  // nobody of the group has it, nor has this one
    entry_only_.assign(1, entry);
    across_.add(way.source, entry_only_, way.keys, slot);
    sent_[base::index(way.source)] += way.bytes;
    received_[base::index(entry)] += way.bytes;
    lacking_.erase(std::find(lacking_.begin(), lacking_.end(), entry));
    if (lacking_.empty()) return;
    inside_.add(entry, lacking_, way.keys, slot);
    sent_[base::index(entry)] += way.bytes * static_cast<int64_t>(lacking_.size());
  }

  /// The holders in the group, else those on its nodes, else all.
  static Candidates nearest(std::span<const uint64_t> holders, const Places& places) {
    Candidates candidates{holders, places.group, 0};
    for (const std::span<const uint64_t> mask : {places.group, places.near, holders}) {
      candidates.mask = mask;
      for (size_t i = 0; i < holders.size() && candidates.n < 2; ++i) {
        const uint64_t word = holders[i] & mask[i];
        if (word != 0) candidates.n += (word & (word - 1)) == 0 ? 1 : 2;
      }
      if (candidates.n > 0) break;
    }
    return candidates;
  }

  int least_loaded(const Candidates& candidates) const {
    int best = -1;
    for (size_t i = 0; i < candidates.holders.size(); ++i) {
      for (uint64_t word = candidates.holders[i] & candidates.mask[i]; word != 0;
           word &= word - 1) {
        const int worker = static_cast<int>(i * 64) + std::countr_zero(word);
        if (best < 0 || sent_[base::index(worker)] < sent_[base::index(best)]) best = worker;
      }
    }
    return best;
  }

  /// The worker of the group that receives from `source`: one for each node of the group, or for
  /// all other nodes, since few large messages to pass on are better than many small ones; the one
  /// that has received least.
  int entry_from(int source, const Need& need) {
    const auto is_here = [&](int worker) { return node(worker) == node(source); };
    const bool has_member_here = std::any_of(need.workers.begin(), need.workers.end(), is_here);
    const int place = has_member_here ? node(source) : -1;
    for (const Entry& entry : entries_) {
      if (entry.node == place) return entry.worker;
    }
    int best = -1;
    for (const int worker : need.workers) {
      if (has_member_here && !is_here(worker)) continue;
      if (best < 0 || received_[base::index(worker)] < received_[base::index(best)]) best = worker;
    }
    entries_.push_back({place, best});
    return best;
  }

  WorkerSet on_nodes_of(const Need& need) {
    if (workers_on_node_.empty()) {
      for (int worker = 0; worker < tracker_.n_workers(); ++worker) {
        if (base::index(node(worker)) >= workers_on_node_.size())
          workers_on_node_.resize(base::index(node(worker)) + 1);
        workers_on_node_[base::index(node(worker))].push_back(worker);
      }
    }
    WorkerSet near(tracker_.n_workers());
    for (const int member : need.workers) {
      if (near.contains(member)) continue;  // its node is in already
      for (const int worker : workers_on_node_[base::index(node(member))]) near.insert(worker);
    }
    return near;
  }

  static bool is_in(std::span<const uint64_t> holders, int worker) {
    return !holders.empty() &&
           ((holders[base::index(worker) / 64] >> (base::index(worker) % 64)) & 1) != 0;
  }

  static bool equal_in(std::span<const uint64_t> mask, std::span<const uint64_t> a,
                       std::span<const uint64_t> b) {
    for (size_t i = 0; i < mask.size(); ++i) {
      if (((a[i] ^ b[i]) & mask[i]) != 0) return false;
    }
    return true;
  }

  static bool contains_all(std::span<const uint64_t> holders, std::span<const uint64_t> group) {
    if (holders.empty()) return false;
    for (size_t i = 0; i < holders.size(); ++i) {
      if ((group[i] & ~holders[i]) != 0) return false;
    }
    return true;
  }

  int node(int worker) const { return problem_.node_of_worker[base::index(worker)]; }

  const StorageTracker& tracker_;
  const RedistributionProblem& problem_;
  const SlotBytes& bytes_;
  std::vector<int64_t> sent_, received_;  // by worker, bytes of this plan so far
  std::vector<int> planned_;  // by slot: the number of the last need that it was planned for
  int n_planned_ = 0;         // needs so far, each for each part of the keys
  std::vector<std::vector<int>> workers_on_node_;
  std::span<const int> keys_;  // those planned at once: from place first_key_ of the problem's
  size_t first_key_ = 0;
  std::vector<Way> ways_;                            // of the sample at hand
  std::vector<int> asked_;                           // sources of the sample at hand
  std::vector<std::pair<size_t, Candidates>> open_;  // its keys that several workers could give
  std::vector<Entry> entries_;                       // where samples enter the group at hand
  std::vector<int> lacking_;     // workers of the group without the sample at hand
  std::vector<int> entry_only_;  // {entry}, kept to allocate once
  Routes across_, inside_;
  MovePlan plan_;
};

}  // namespace

MovePlan plan_direct(const StorageTracker& tracker, const RedistributionProblem& problem,
                     const SlotBytes& bytes) {
  check_problem(tracker, problem);
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
      for (const int slot : plan.lists[base::index(step.lists[i])]) {
        if (base::index(slot) >= listed.size()) listed.resize(base::index(slot) + 1);
        if (!listed[base::index(slot)]) fresh.push_back(slot);
        listed[base::index(slot)] = true;
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
        for (const int slot : plan.lists[base::index(move.list)]) size += of_key[base::index(slot)];
        total += size * static_cast<int64_t>(move.destinations.size());
      }
    }
  }
  return total;
}

}  // namespace orrery::master
