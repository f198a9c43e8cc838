#include "orrery/graph/communicators.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/graph/topology.h"
#include "three_factors.h"

namespace orrery::graph {
namespace {

using Numbers = std::vector<int>;
constexpr int kNone = ColouredSplit::kNoColour;

Replica replica(const std::string& role, int index, const std::string& layout) {
  return {.id = {role, index}, .layout = Layout::parse(layout)};
}

/// What MPI_Comm_split would make: for each colour the workers ordered by key.
std::vector<Numbers> groups_made_by(const ColouredSplit& split) {
  std::map<int, std::map<int, int>> by_colour;
  for (size_t worker = 0; worker < split.colour.size(); ++worker) {
    if (split.colour[worker] == kNone) continue;
    const bool is_new =
        by_colour[split.colour[worker]].emplace(split.key[worker], static_cast<int>(worker)).second;
    EXPECT_TRUE(is_new) << "two workers with one key in " << split.family;
  }
  std::vector<Numbers> groups;
  for (const auto& [colour, members] : by_colour) {
    Numbers& group = groups.emplace_back();
    for (const auto& [key, worker] : members) group.push_back(worker);
  }
  return groups;
}

TEST(CommunicatorPlan, MakesEachFamilyByOneSplit) {
  const CommunicatorPlan plan = plan_communicators({replica("actor", 0, "d2t2p1@0-3")}, 4);

  std::vector<std::string> families;
  for (const ColouredSplit& split : plan.splits) families.push_back(split.family);
  EXPECT_EQ(families, (std::vector<std::string>{"workers", "actor.0/data", "actor.0/tensor",
                                                "actor.0/pipe"}));
  EXPECT_EQ(plan.splits[1].colour, (Numbers{0, 1, 0, 1}));
  EXPECT_EQ(plan.splits[1].key, (Numbers{0, 0, 1, 1}));
  EXPECT_EQ(plan.splits[2].colour, (Numbers{0, 0, 1, 1}));
}

TEST(CommunicatorPlan, SharesEqualGroups) {
  const CommunicatorPlan plan = plan_communicators({replica("actor", 0, "d2t2p1@0-3")}, 4);

  // All four workers in rank order are the workers group; groups of one are all alike.
  EXPECT_EQ(plan.find("actor.0/model"), plan.find("workers"));
  EXPECT_EQ(plan.find("actor.0/embedding2"), plan.find("actor.0/pipe2"));
  EXPECT_NE(plan.find("actor.0/data0"), plan.find("actor.0/tensor0"));
}

TEST(CommunicatorPlan, KeepsGroupsApartThatDifferOnlyInOrder) {
  const CommunicatorPlan plan = plan_communicators({replica("actor", 0, "d2@1,0")}, 2);

  EXPECT_NE(plan.find("actor.0/model"), plan.find("workers"));
  EXPECT_EQ(plan.groups[static_cast<size_t>(*plan.find("actor.0/model"))].workers, (Numbers{1, 0}));
}

TEST(CommunicatorPlan, GivesNoColourToWorkersOutside) {
  const CommunicatorPlan plan = plan_communicators({replica("ref", 0, "d2@1-2")}, 4);

  EXPECT_EQ(plan.splits[1].family, "ref.0/model");
  EXPECT_EQ(plan.splits[1].colour, (Numbers{kNone, 0, 0, kNone}));
}

TEST(CommunicatorPlan, FindsTheGroupOfAWorker) {
  const Replica actor = replica("actor", 1, "d1t1p3@3,0,1");
  const CommunicatorPlan plan = plan_communicators({actor}, 4);

  const auto pipe = plan.group_of(actor, GroupKind::kPipe, 0);
  ASSERT_TRUE(pipe.has_value());
  EXPECT_EQ(plan.groups[static_cast<size_t>(*pipe)].workers, (Numbers{3, 0, 1}));
  const auto ends = plan.group_of(actor, GroupKind::kEmbedding, 1);
  ASSERT_TRUE(ends.has_value());
  EXPECT_EQ(plan.groups[static_cast<size_t>(*ends)].workers, (Numbers{3, 1}));
  EXPECT_FALSE(plan.group_of(actor, GroupKind::kEmbedding, 0).has_value());  // the inner stage
  EXPECT_FALSE(plan.group_of(actor, GroupKind::kModel, 2).has_value());
}

TEST(CommunicatorPlan, RefusesAReplicaOutsideTheWorkers) {
  EXPECT_THROW(plan_communicators({replica("actor", 0, "d2@0,4")}, 4), ConfigError);
}

TEST(CommunicatorPlan, SplitsMakeExactlyTheGroupsForRandomLayouts) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 200; ++trial) {
    const int n_workers = 1 + static_cast<int>(random() % 12);
    std::vector<Replica> replicas;
    for (int r = 0; r < 3; ++r) {
      const std::vector<std::array<int, 3>> shapes =
          three_factors(1 + static_cast<int>(random() % static_cast<unsigned>(n_workers)));
      const std::array<int, 3>& shape = shapes[random() % shapes.size()];
      Layout layout{.data = shape[0],
                    .tensor = shape[1],
                    .pipe = shape[2],
                    .workers = default_layout(n_workers).workers};
      std::shuffle(layout.workers.begin(), layout.workers.end(), random);
      layout.workers.resize(static_cast<size_t>(layout.size()));
      replicas.push_back({.id = {"role" + std::to_string(r), 0}, .layout = layout});
    }

    const CommunicatorPlan plan = plan_communicators(replicas, n_workers);

    std::vector<Numbers> made;
    for (const ColouredSplit& split : plan.splits) {
      for (const Numbers& group : groups_made_by(split)) made.push_back(group);
    }
    std::vector<Numbers> planned;
    for (const Group& group : plan.groups) planned.push_back(group.workers);
    EXPECT_EQ(made, planned);  // also: none is made twice
    for (const Replica& one : replicas) {
      for (int worker : one.layout.workers) {
        for (GroupKind kind :
             {GroupKind::kModel, GroupKind::kData, GroupKind::kTensor, GroupKind::kPipe}) {
          EXPECT_TRUE(plan.group_of(one, kind, worker).has_value());
        }
      }
    }
  }
}

}  // namespace
}  // namespace orrery::graph
