// What every plan must achieve, on random holders, needs and nodes: the moves are carried out on a
// simple model of workers and their stores, and every step is checked.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "orrery/base/error.h"
#include "orrery/master/redistribution.h"
#include "random_for_test.h"

namespace orrery::master {
namespace {

size_t at(int index) { return static_cast<size_t>(index); }

/// (worker, slot, key)
using Stores = std::set<std::tuple<int, int, int>>;

struct Scene {
  explicit Scene(Random& random)
      : n_workers(random.between(1, 70)),
        n_slots(random.between(1, 30)),
        tracker(n_workers, n_slots) {
    const int n_keys = random.between(1, 3);
    for (int key = 0; key < n_keys; ++key) keys.push_back(key);
    random.shuffle(keys);
    const int per_node = random.between(1, 8);
    for (int worker = 0; worker < n_workers; ++worker) nodes.push_back(worker / per_node);
    order.resize(at(n_slots));
    std::iota(order.begin(), order.end(), 100);
    random.shuffle(order);
    scatter_samples(random);
    make_needs(random);
    for (size_t k = 0; k < keys.size(); ++k) {
      std::vector<int64_t>& of_key = bytes.emplace_back();
      for (int slot = 0; slot < n_slots; ++slot) of_key.push_back(random.between(0, 1000));
    }
  }

  void scatter_samples(Random& random) {
    for (const int key : keys) {
      for (int slot = 0; slot < n_slots; ++slot) {
        const int owner = random.between(0, n_workers - 1);
        hold(owner, slot, key, Ownership::kOwner);
        for (int copies = random.between(0, 4); copies > 0; --copies) {
          hold(random.between(0, n_workers - 1), slot, key, Ownership::kCopy);
        }
      }
    }
  }

  void hold(int worker, int slot, int key, Ownership ownership) {
    tracker.add(worker, std::vector<int>{slot}, key, ownership);
    stores.insert({worker, slot, key});
  }

  void make_needs(Random& random) {
    std::vector<int> workers(at(n_workers));
    std::iota(workers.begin(), workers.end(), 0);
    random.shuffle(workers);
    std::vector<int> slots(at(n_slots));
    std::iota(slots.begin(), slots.end(), 0);
    random.shuffle(slots);
    const int group = random.between(1, std::min(6, n_workers));
    const int n_groups = std::min(n_workers / group, n_slots);
    for (int g = 0; g < n_groups; ++g) {
      Need need;
      need.workers.assign(workers.begin() + g * group, workers.begin() + (g + 1) * group);
      for (int i = g; i < n_slots; i += n_groups) need.slots.push_back(slots[at(i)]);
      needs.push_back(need);
    }
  }

  RedistributionProblem problem() const {
    return {.keys = keys, .needs = needs, .order_of_slot = order, .node_of_worker = nodes};
  }

  int n_workers, n_slots;
  std::vector<int> keys, nodes;
  std::vector<uint64_t> order;
  std::vector<Need> needs;
  SlotBytes bytes;
  StorageTracker tracker;
  Stores stores;
};

const Need& need_of(const Scene& scene, int worker) {
  for (const Need& need : scene.needs) {
    if (std::find(need.workers.begin(), need.workers.end(), worker) != need.workers.end()) {
      return need;
    }
  }
  throw std::runtime_error("worker " + std::to_string(worker) + " needs nothing");
}

bool is_in(const std::vector<int>& list, int item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

void expect_needs_met(const Scene& scene, const Stores& stores) {
  for (const Need& need : scene.needs) {
    for (const int worker : need.workers) {
      for (const int slot : need.slots) {
        for (const int key : scene.keys) EXPECT_TRUE(stores.contains({worker, slot, key}));
      }
    }
  }
}

void expect_tracker_knows(const StorageTracker& tracker, const Stores& stores) {
  for (const auto& [worker, slot, key] : stores) EXPECT_TRUE(tracker.holds(worker, slot, key));
}

/// Carries a direct plan out and checks every delivery.
Stores run_direct(const Scene& scene, const MovePlan& plan) {
  Stores stores = scene.stores;
  std::map<std::tuple<const Need*, int, int>, int> arrivals;  // from outside the group
  for (const std::vector<Move>& phase : plan.phases) {
    const Stores before = stores;
    for (const Move& move : phase) {
      for (const int slot : plan.lists[at(move.list)]) {
        for (const int key : move.keys) {
          EXPECT_TRUE(before.contains({move.source, slot, key})) << "sends what it has not";
          for (const int worker : move.destinations) {
            const Need& need = need_of(scene, worker);
            EXPECT_TRUE(is_in(need.slots, slot)) << "nobody wanted this";
            EXPECT_TRUE(stores.insert({worker, slot, key}).second) << "was in place already";
            if (is_in(need.workers, move.source)) continue;
            EXPECT_EQ(++arrivals[std::tuple(&need, slot, key)], 1) << "entered the group twice";
            for (const int member : need.workers) {
              EXPECT_FALSE(scene.stores.contains({member, slot, key})) << "the group had it";
            }
          }
        }
      }
    }
  }
  return stores;
}

void expect_near_sources(const Scene& scene, const MovePlan& plan) {
  if (plan.phases.empty()) return;
  for (const Move& move : plan.phases[0]) {
    const Need& need = need_of(scene, move.destinations.front());
    const auto is_near = [&](int worker) {
      return std::any_of(need.workers.begin(), need.workers.end(), [&](int member) {
        return scene.nodes[at(member)] == scene.nodes[at(worker)];
      });
    };
    if (is_near(move.source)) continue;
    for (const int slot : plan.lists[at(move.list)]) {
      for (const int key : move.keys) {
        for (int worker = 0; worker < scene.n_workers; ++worker) {
          EXPECT_FALSE(is_near(worker) && scene.stores.contains({worker, slot, key}));
        }
      }
    }
  }
}

TEST(DirectPlan, GivesEveryGroupEachSampleOnceAndNothingThatIsInPlace) {
  for (int round = 0; round < 400; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Random random(round);
    Scene scene(random);

    const MovePlan plan = plan_direct(scene.tracker, scene.problem(), scene.bytes);
    record_needs(scene.problem(), scene.tracker);

    const Stores stores = run_direct(scene, plan);
    expect_needs_met(scene, stores);
    expect_near_sources(scene, plan);
    expect_tracker_knows(scene.tracker, stores);
    if (HasFailure()) return;
  }
}

/// Carries the moves of a reference plan out; a root may get nothing twice.
Stores run_reference(const Scene& scene, const MovePlan& plan) {
  Stores stores = scene.stores;
  std::set<std::tuple<int, int, int, size_t>> sent;  // destination, slot, key, phase
  for (size_t phase = 0; phase < plan.phases.size(); ++phase) {
    const Stores before = stores;
    for (const Move& move : plan.phases[phase]) {
      EXPECT_FALSE(is_in(move.destinations, move.source));
      for (const int slot : plan.lists[at(move.list)]) {
        for (const int key : move.keys) {
          EXPECT_TRUE(before.contains({move.source, slot, key})) << "sends what it has not";
          for (const int worker : move.destinations) {
            EXPECT_TRUE(sent.insert({worker, slot, key, phase}).second) << "sent twice";
            stores.insert({worker, slot, key});
          }
        }
      }
    }
  }
  return stores;
}

TEST(ReferencePlans, MeetAllNeedsWhenTheirMovesAreCarriedOut) {
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    Random random(round);
    Scene scene(random);

    const ReferencePlan gather_scatter = plan_gather_scatter(scene.tracker, scene.problem());
    const ReferencePlan broadcast = plan_broadcast(scene.tracker, scene.problem());

    expect_needs_met(scene, run_reference(scene, lower(broadcast)));
    const Stores stores = run_reference(scene, lower(gather_scatter));
    expect_needs_met(scene, stores);
    record_plan(gather_scatter, scene.tracker);
    expect_tracker_knows(scene.tracker, stores);
    if (HasFailure()) return;
  }
}

TEST(DirectPlan, SharesTheSendingAmongEqualHolders) {
  StorageTracker tracker(5, 8);
  const std::vector<int> slots = {0, 1, 2, 3, 4, 5, 6, 7};
  tracker.add(0, slots, 0, Ownership::kOwner);
  tracker.add(1, slots, 0, Ownership::kCopy);
  const std::vector<int> keys = {0};
  const std::vector<Need> needs = {{{2}, slots}};
  const std::vector<uint64_t> order = {0, 1, 2, 3, 4, 5, 6, 7};
  const std::vector<int> nodes(5, 0);
  const SlotBytes bytes = {{10, 10, 10, 10, 10, 10, 10, 10}};

  const MovePlan plan = plan_direct(
      tracker, {.keys = keys, .needs = needs, .order_of_slot = order, .node_of_worker = nodes},
      bytes);

  ASSERT_EQ(plan.phases.size(), 1u);
  ASSERT_EQ(plan.phases[0].size(), 2u);
  EXPECT_EQ(plan.lists[at(plan.phases[0][0].list)].size(), 4u);
  EXPECT_EQ(plan.lists[at(plan.phases[0][1].list)].size(), 4u);
}

TEST(DirectPlan, NamesASampleThatNobodyHolds) {
  StorageTracker tracker(2, 2);
  tracker.add(0, std::vector<int>{0}, 0, Ownership::kOwner);
  const std::vector<int> keys = {0};
  const std::vector<Need> needs = {{{1}, {0, 1}}};
  const std::vector<uint64_t> order = {70, 71};
  const std::vector<int> nodes(2, 0);

  try {
    plan_direct(tracker,
                {.keys = keys, .needs = needs, .order_of_slot = order, .node_of_worker = nodes},
                {{1, 1}});
    FAIL() << "no error";
  } catch (const CallError& error) {
    EXPECT_NE(std::string(error.what()).find("sample 71"), std::string::npos) << error.what();
  }
}

/// What the three planners say of a problem with these needs: two workers, two samples, both on
/// worker 0.
std::vector<std::string> errors_for(const std::vector<Need>& needs) {
  StorageTracker tracker(2, 2);
  tracker.add(0, std::vector<int>{0, 1}, 0, Ownership::kOwner);
  const std::vector<int> keys = {0};
  const std::vector<uint64_t> order = {70, 71};
  const std::vector<int> nodes(2, 0);
  const RedistributionProblem problem{
      .keys = keys, .needs = needs, .order_of_slot = order, .node_of_worker = nodes};
  std::vector<std::string> errors;
  const auto note = [&errors](const auto& plan) {
    try {
      plan();
      errors.emplace_back();
    } catch (const CallError& error) {
      errors.emplace_back(error.what());
    }
  };
  note([&] { plan_direct(tracker, problem, {{1, 1}}); });
  note([&] { plan_gather_scatter(tracker, problem); });
  note([&] { plan_broadcast(tracker, problem); });
  return errors;
}

TEST(AllPlans, NameAWorkerOrSampleThatThereIsNot) {
  for (const std::string& error : errors_for({{{2}, {0}}})) {
    EXPECT_NE(error.find("worker 2"), std::string::npos) << error;
  }
  for (const std::string& error : errors_for({{{-1}, {0}}})) {
    EXPECT_NE(error.find("worker -1"), std::string::npos) << error;
  }
  for (const std::string& error : errors_for({{{1}, {2}}})) {
    EXPECT_NE(error.find("sample 2"), std::string::npos) << error;
  }
}

TEST(AllPlans, SendASampleThatANeedNamesTwiceOnce) {
  StorageTracker tracker(3, 2);
  tracker.add(0, std::vector<int>{0, 1}, 0, Ownership::kOwner);
  const std::vector<int> keys = {0};
  const std::vector<Need> needs = {{{1, 2}, {1, 0, 1}}};
  const std::vector<uint64_t> order = {70, 71};
  const std::vector<int> nodes(3, 0);
  const RedistributionProblem problem{
      .keys = keys, .needs = needs, .order_of_slot = order, .node_of_worker = nodes};
  const SlotBytes bytes = {{10, 10}};

  for (const MovePlan& plan :
       {plan_direct(tracker, problem, bytes), lower(plan_gather_scatter(tracker, problem)),
        lower(plan_broadcast(tracker, problem))}) {
    EXPECT_EQ(bytes_moved(plan, problem, bytes), 40);
  }
}

TEST(PatternNamed, RefusesAnUnknownName) {
  EXPECT_EQ(pattern_named("bcast"), Pattern::kBroadcast);
  EXPECT_THROW(pattern_named("ring"), ConfigError);
}

}  // namespace
}  // namespace orrery::master
