#include "redistribution_checks.h"

#include <algorithm>

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::master {

namespace {

void check_keys_differ(std::span<const int> keys) {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (std::find(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(i), keys[i]) !=
        keys.begin() + static_cast<std::ptrdiff_t>(i)) {
      throw CallError("redistribution: a key is asked for twice",
                      {.expected = "different keys",
                       .got = base::concat("key ", keys[i], " at places of both"),
                       .advice = "name each input key of the call once"});
    }
  }
}

/// `what`: worker or sample.
void check_index(const char* what, int index, size_t end) {
  if (index >= 0 && static_cast<size_t>(index) < end) return;
  throw CallError(
      base::concat("redistribution: a call wants a ", what, " that there is not"),
      {.expected = base::concat("a ", what, " from 0 to ", static_cast<int64_t>(end) - 1),
       .got = base::concat(what, " ", index),
       .advice = "layouts name the workers of the job, batches the samples of the step"});
}

}  // namespace

void check_problem(const StorageTracker& tracker, const RedistributionProblem& problem) {
  check_keys_differ(problem.keys);
  const auto n_workers = static_cast<size_t>(tracker.n_workers());
  const size_t n_slots =
      std::min(problem.order_of_slot.size(), static_cast<size_t>(tracker.n_slots()));
  if (problem.node_of_worker.size() < n_workers) {
    check_index("worker", tracker.n_workers() - 1, problem.node_of_worker.size());
  }
  WorkerSet seen(tracker.n_workers());
  for (const Need& need : problem.needs) {
    for (const int worker : need.workers) {
      check_index("worker", worker, n_workers);
      if (seen.contains(worker)) {
        throw CallError("redistribution: a worker stands at two places of a layout",
                        {.expected = "each worker once",
                         .got = base::concat("worker ", worker, " again"),
                         .advice = "give each shard of the call a worker of its own"});
      }
      seen.insert(worker);
    }
    for (const int slot : need.slots) check_index("sample", slot, n_slots);
  }
}

void throw_nobody_has(const RedistributionProblem& problem, int slot, int key) {
  throw CallError("redistribution: a wanted sample is nowhere",
                  {.expected = "a worker that holds it",
                   .got = base::concat("sample ", problem.order_of_slot[base::index(slot)],
                                       " under key ", key, ", which no worker has"),
                   .advice = "the call that writes this key must come before"});
}

}  // namespace orrery::master
