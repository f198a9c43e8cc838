#include "orrery/graph/communicators.h"

#include <algorithm>
#include <map>

#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/index.h"
#include "orrery/base/text.h"  // concat
#include "orrery/graph/topology.h"

namespace orrery::graph {

namespace {

constexpr GroupKind kGroupKinds[] = {GroupKind::kModel, GroupKind::kData, GroupKind::kTensor,
                                     GroupKind::kPipe, GroupKind::kEmbedding};

/// The groups of one family as ranks of the replica, in the order that numbers their names.
std::vector<std::vector<int>> rank_groups(const Layout& layout, GroupKind kind) {
  const Topology topology = topology_of(layout);
  switch (kind) {
    case GroupKind::kModel: {
      std::vector<int> all;
      for (int rank = 0; rank < topology.size(); ++rank) all.push_back(rank);
      return {all};
    }
    case GroupKind::kData:
      return topology.groups_along(Axis::kData);
    case GroupKind::kTensor:
      return topology.groups_along(Axis::kTensor);
    case GroupKind::kPipe:
      return topology.groups_along(Axis::kPipe);
    case GroupKind::kEmbedding: {
      std::vector<std::vector<int>> groups;
      for (const std::vector<int>& stages : topology.groups_along(Axis::kPipe)) {
        std::vector<int>& ends = groups.emplace_back(1, stages.front());
        if (stages.size() > 1) ends.push_back(stages.back());
      }
      return groups;
    }
  }
  return {};
}

std::vector<int> workers_at(const Layout& layout, const std::vector<int>& ranks) {
  std::vector<int> workers;
  for (int rank : ranks) workers.push_back(layout.workers.at(base::index(rank)));
  return workers;
}

std::string group_name(const ReplicaId& id, GroupKind kind, size_t number) {
  const std::string family = base::concat(id.text(), "/", name_of(kind));
  return kind == GroupKind::kModel ? family : base::concat(family, number);
}

/// Adds families one by one and shares groups with equal workers.
class PlanBuilder {
 public:
  explicit PlanBuilder(int n_workers) { plan_.n_workers = n_workers; }

  void add_family(const std::string& family, const std::vector<Group>& wanted) {
    ColouredSplit split{
        .family = family,
        .colour = std::vector<int>(static_cast<size_t>(plan_.n_workers), ColouredSplit::kNoColour),
        .key = std::vector<int>(static_cast<size_t>(plan_.n_workers), 0)};
    int n_colours = 0;
    for (const Group& group : wanted) {
      const auto [place, is_new] =
          by_workers_.emplace(group.workers, static_cast<int>(plan_.groups.size()));
      if (!is_new) {
        plan_.groups[static_cast<size_t>(place->second)].names.push_back(group.names.front());
        continue;
      }
      for (size_t rank = 0; rank < group.workers.size(); ++rank) {
        const size_t worker = static_cast<size_t>(group.workers[rank]);
        split.colour[worker] = n_colours;
        split.key[worker] = static_cast<int>(rank);
      }
      ++n_colours;
      Group& added = plan_.groups.emplace_back(group);
      added.split = static_cast<int>(plan_.splits.size());
    }
    if (n_colours > 0) plan_.splits.push_back(std::move(split));
  }

  CommunicatorPlan take() { return std::move(plan_); }

 private:
  CommunicatorPlan plan_;
  std::map<std::vector<int>, int> by_workers_;
};

}  // namespace

std::string_view name_of(GroupKind kind) {
  switch (kind) {
    case GroupKind::kModel:
      return "model";
    case GroupKind::kData:
      return "data";
    case GroupKind::kTensor:
      return "tensor";
    case GroupKind::kPipe:
      return "pipe";
    case GroupKind::kEmbedding:
      return "embedding";
  }
  return "?";
}

std::optional<int> CommunicatorPlan::find(std::string_view name) const {
  for (size_t i = 0; i < groups.size(); ++i) {
    const std::vector<std::string>& names = groups[i].names;
    if (std::find(names.begin(), names.end(), name) != names.end()) return static_cast<int>(i);
  }
  return std::nullopt;
}

std::optional<int> CommunicatorPlan::group_of(const Replica& replica, GroupKind kind,
                                              int worker) const {
  const std::vector<std::vector<int>> families = rank_groups(replica.layout, kind);
  for (size_t number = 0; number < families.size(); ++number) {
    const std::vector<int> workers = workers_at(replica.layout, families[number]);
    if (std::find(workers.begin(), workers.end(), worker) != workers.end()) {
      return find(group_name(replica.id, kind, number));
    }
  }
  return std::nullopt;
}

CommunicatorPlan plan_communicators(const std::vector<Replica>& replicas, int n_workers) {
  PlanBuilder builder(n_workers);
  builder.add_family("workers",
                     {Group{.workers = default_layout(n_workers).workers, .names = {"workers"}}});
  for (const Replica& replica : replicas) {
    for (const std::string& problem : placement_problems(replica.layout, n_workers)) {
      throw ConfigError(base::concat("replica ", replica.id.text(), ": ", problem),
                        {.expected = base::concat("workers 0 to ", n_workers - 1),
                         .got = replica.layout.text(),
                         .advice = "check the graph before planning communicators"});
    }
    for (GroupKind kind : kGroupKinds) {
      std::vector<Group> wanted;
      for (const std::vector<int>& ranks : rank_groups(replica.layout, kind)) {
        wanted.push_back(Group{.workers = workers_at(replica.layout, ranks),
                               .names = {group_name(replica.id, kind, wanted.size())}});
      }
      builder.add_family(base::concat(replica.id.text(), "/", name_of(kind)), wanted);
    }
  }
  return builder.take();
}

}  // namespace orrery::graph
