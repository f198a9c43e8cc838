#include "orrery/master/redistribution.h"

#include <algorithm>
#include <bit>
#include <unordered_map>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "redistribution_checks.h"

namespace orrery::master {

namespace {

/// The samples that anybody wants, in order_of_slot order, and each need's list in that order.
struct SortedNeeds {
  std::vector<int> wanted;              ///< slots
  std::vector<std::vector<int>> lists;  ///< [needs]
};

SortedNeeds sort_needs(const RedistributionProblem& problem) {
  SortedNeeds sorted;
  std::vector<int> position(problem.order_of_slot.size(), -1);
  for (const Need& need : problem.needs) {
    for (const int slot : need.slots) {
      if (std::exchange(position[base::index(slot)], 0) == -1) sorted.wanted.push_back(slot);
    }
  }
  std::sort(sorted.wanted.begin(), sorted.wanted.end(), [&](int a, int b) {
    return problem.order_of_slot[base::index(a)] < problem.order_of_slot[base::index(b)];
  });
  for (size_t i = 0; i < sorted.wanted.size(); ++i) {
    position[base::index(sorted.wanted[i])] = static_cast<int>(i);
  }

  // A list is sorted by setting the bits of its positions and reading them back in order.
  std::vector<uint64_t> bits((sorted.wanted.size() + 63) / 64);
  for (const Need& need : problem.needs) {
    for (const int slot : need.slots) {
      const size_t place = base::index(position[base::index(slot)]);
      bits[place / 64] |= uint64_t{1} << (place % 64);
    }
    std::vector<int>& list = sorted.lists.emplace_back();
    list.reserve(need.slots.size());
    for (size_t i = 0; i < bits.size(); ++i) {
      for (uint64_t word = std::exchange(bits[i], 0); word != 0; word &= word - 1) {
        list.push_back(sorted.wanted[i * 64 + static_cast<size_t>(std::countr_zero(word))]);
      }
    }
  }
  return sorted;
}

bool all_in_place(const StorageTracker& tracker, const RedistributionProblem& problem, int key) {
  for (const Need& need : problem.needs) {
    WorkerSet group(tracker.n_workers());
    for (const int worker : need.workers) group.insert(worker);
    for (const int slot : need.slots) {
      const std::span<const uint64_t> holders = tracker.holders(slot, key);
      for (size_t i = 0; i < holders.size(); ++i) {
        if ((group.words()[i] & ~holders[i]) != 0) return false;
      }
    }
  }
  return true;
}

/// By source (ascending): the wanted samples that it holds.
std::vector<std::vector<int>> held_lists(const StorageTracker& tracker, int key,
                                         const std::vector<int>& wanted, const WorkerSet& owners,
                                         const std::vector<int>& sources) {
  std::vector<int> place(base::index(tracker.n_workers()));
  for (size_t i = 0; i < sources.size(); ++i) place[base::index(sources[i])] = static_cast<int>(i);
  std::vector<std::vector<int>> lists(sources.size());
  for (std::vector<int>& list : lists) list.reserve(wanted.size() / sources.size() + 1);
  const std::span<const uint64_t> mask = owners.words();
  for (const int slot : wanted) {
    const std::span<const uint64_t> holders = tracker.holders(slot, key);
    for (size_t i = 0; i < mask.size(); ++i) {
      for (uint64_t word = holders[i] & mask[i]; word != 0; word &= word - 1) {
        const size_t worker = i * 64 + static_cast<size_t>(std::countr_zero(word));
        lists[base::index(place[worker])].push_back(slot);
      }
    }
  }
  return lists;
}

/// The gather of an earlier key that `lists` from `sources` would repeat, or null.
PlanStep* find_equal_gather(std::vector<PlanStep>& gathers, const ReferencePlan& plan,
                            const std::vector<int>& sources,
                            const std::vector<std::vector<int>>& lists) {
  for (PlanStep& step : gathers) {
    if (step.peers != sources) continue;
    bool equal = true;
    for (size_t i = 0; equal && i < lists.size(); ++i) {
      equal = plan.lists[base::index(step.lists[i])] == lists[i];
    }
    if (equal) return &step;
  }
  return nullptr;
}

/// A scatter to every worker that wants something: the same for each root.
PlanStep scatter_to_all(const RedistributionProblem& problem) {
  std::vector<std::pair<int, int>> destinations;  // worker, list
  for (size_t i = 0; i < problem.needs.size(); ++i) {
    if (problem.needs[i].slots.empty()) continue;
    for (const int worker : problem.needs[i].workers) {
      destinations.emplace_back(worker, static_cast<int>(i));
    }
  }
  std::sort(destinations.begin(), destinations.end());
  PlanStep step;
  step.kind = StepKind::kScatter;
  for (const auto& [worker, list] : destinations) {
    step.peers.push_back(worker);
    step.lists.push_back(list);
  }
  return step;
}

}  // namespace

Pattern pattern_named(std::string_view name) {
  if (name == "direct") return Pattern::kDirect;
  if (name == "gather-scatter") return Pattern::kGatherScatter;
  if (name == "bcast") return Pattern::kBroadcast;
  throw ConfigError("experiment.redistribution: no such pattern",
                    {.expected = "direct, gather-scatter or bcast",
                     .got = std::string(name),
                     .advice = "leave the key out for direct"});
}

ReferencePlan plan_gather_scatter(const StorageTracker& tracker,
                                  const RedistributionProblem& problem) {
  check_problem(tracker, problem);
  SortedNeeds sorted = sort_needs(problem);
  if (sorted.wanted.empty()) {
    throw CallError("redistribution: gather-scatter",
                    {.expected = "a sample that some worker wants", .got = "none", .advice = {}});
  }
  ReferencePlan plan;
  plan.lists = std::move(sorted.lists);  // list i: need i
  std::vector<PlanStep> scatters;
  for (const int key : problem.keys) {
    WorkerSet owners(tracker.n_workers());
    for (const int slot : sorted.wanted) {
      const int owner = tracker.owner(slot, key);
      if (owner < 0) throw_nobody_has(problem, slot, key);
      owners.insert(owner);
    }
    if (all_in_place(tracker, problem, key)) continue;

    const std::vector<int> sources = owners.members();
    const int root = sources.front();
    const bool root_has_all = std::all_of(sorted.wanted.begin(), sorted.wanted.end(),
                                          [&](int slot) { return tracker.holds(root, slot, key); });
    if (!root_has_all) {
      std::vector<std::vector<int>> lists =
          held_lists(tracker, key, sorted.wanted, owners, sources);
      if (PlanStep* const same = find_equal_gather(plan.steps, plan, sources, lists)) {
        same->keys.push_back(key);
      } else {
        PlanStep step{.kind = StepKind::kGather, .root = root, .peers = sources};
        step.keys = {key};
        for (std::vector<int>& list : lists) {
          step.lists.push_back(static_cast<int>(plan.lists.size()));
          plan.lists.push_back(std::move(list));
        }
        plan.steps.push_back(std::move(step));
      }
    }
    const auto same_root = std::find_if(scatters.begin(), scatters.end(),
                                        [&](const PlanStep& step) { return step.root == root; });
    if (same_root != scatters.end()) {
      same_root->keys.push_back(key);
    } else {
      PlanStep step = scatter_to_all(problem);
      step.root = root;
      step.keys = {key};
      scatters.push_back(std::move(step));
    }
  }
  std::move(scatters.begin(), scatters.end(), std::back_inserter(plan.steps));
  return plan;
}

void record_plan(const ReferencePlan& plan, StorageTracker& tracker) {
  for (const PlanStep& step : plan.steps) {
    for (size_t i = 0; i < step.lists.size(); ++i) {
      const int holder = step.kind == StepKind::kGather ? step.root : step.peers[i];
      for (const int key : step.keys) {
        tracker.add(holder, plan.lists[base::index(step.lists[i])], key, Ownership::kCopy);
      }
    }
  }
}

void record_needs(const RedistributionProblem& problem, StorageTracker& tracker) {
  for (const Need& need : problem.needs) {
    WorkerSet group(tracker.n_workers());
    for (const int worker : need.workers) group.insert(worker);
    for (const int key : problem.keys) tracker.add(group, need.slots, key);
  }
}

}  // namespace orrery::master
