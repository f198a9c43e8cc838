// Redistribution plans and the tracker behind them against golden vectors (planner.json): every
// operation of every case, on one tracker a case. A sample's slot is its place in the case's table
// of ids; samples are ordered as their names are as texts.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/master/key_table.h"
#include "orrery/master/redistribution.h"
#include "orrery/master/storage_tracker.h"

namespace orrery::master {
namespace {

using golden::Case;
using nlohmann::json;

class PlannerCase {
 public:
  explicit PlannerCase(const Case& c)
      : n_workers_(c["n_gpus"].get<int>()),
        names_(c["ids"].get<std::vector<std::string>>()),
        tracker_(n_workers_, static_cast<int>(names_.size())) {
    std::vector<size_t> by_name(names_.size());
    std::iota(by_name.begin(), by_name.end(), 0);
    std::sort(by_name.begin(), by_name.end(),
              [this](size_t a, size_t b) { return names_[a] < names_[b]; });
    order_.resize(names_.size());
    for (size_t i = 0; i < by_name.size(); ++i) order_[by_name[i]] = i;
    for (int worker = 0; worker < n_workers_; ++worker) {
      node_.push_back(worker / c["gpus_per_node"].get<int>());
    }
  }

  void run(const json& op) {
    const std::string kind = op.at("op");
    if (kind == "add") {
      tracker_.add(op.at("rank"), op.at("ids").get<std::vector<int>>(),
                   keys_.intern(key(op.at("key"))),
                   op.value("owner", false) ? Ownership::kOwner : Ownership::kCopy);
    } else if (kind == "clear") {
      tracker_.clear(op.at("ids").get<std::vector<int>>());
    } else if (kind == "plan") {
      check_plan(op);
    } else {
      ASSERT_EQ(kind, "state");
      check_state(op.at("expect"));
    }
  }

 private:
  static std::string key(const json& name) { return name.get<std::string>(); }

  void check_plan(const json& op) {
    std::vector<int> keys;
    for (const json& name : op.at("keys")) keys.push_back(keys_.intern(key(name)));
    std::vector<Need> needs;
    for (const json& dest : op.at("dests")) {
      needs.push_back({{dest.at(0).get<int>()}, dest.at(1).get<std::vector<int>>()});
    }
    const RedistributionProblem problem{
        .keys = keys, .needs = needs, .order_of_slot = order_, .node_of_worker = node_};
    const auto plan = [&] {
      return pattern_named(op.at("pattern").get<std::string>()) == Pattern::kGatherScatter
                 ? plan_gather_scatter(tracker_, problem)
                 : plan_broadcast(tracker_, problem);
    };

    if (op.at("expect").contains("error")) {
      EXPECT_THROW(plan(), Error);
      return;
    }
    const ReferencePlan got = plan();

    EXPECT_EQ(as_json(got), op.at("expect").at("steps"));
    if (op.value("apply", false)) record_plan(got, tracker_);
  }

  json as_json(const ReferencePlan& plan) const {
    json steps = json::array();
    for (const PlanStep& step : plan.steps) {
      json lists = json::array();
      for (const int list : step.lists) lists.push_back(plan.lists[static_cast<size_t>(list)]);
      json names = json::array();
      for (const int number : step.keys) names.push_back(keys_.name(number));
      json out = {{"root", step.root}, {"keys", names}, {"srcs", nullptr}, {"dsts", nullptr}};
      switch (step.kind) {
        case StepKind::kGather:
          out["comm_type"] = "gather";
          out["srcs"] = step.peers;
          out["ids"] = lists;
          break;
        case StepKind::kScatter:
          out["comm_type"] = "scatter";
          out["dsts"] = step.peers;
          out["ids"] = lists;
          break;
        case StepKind::kBroadcast:
          out["comm_type"] = "bcast";
          out["srcs"] = {step.root};
          out["dsts"] = step.peers;
          out["ids"] = lists[0];
          break;
      }
      steps.push_back(out);
    }
    return steps;
  }

  void check_state(const json& expect) const {
    std::set<std::string> known;
    for (int number = 0; number < keys_.size(); ++number) {
      if (tracker_.knows(number)) known.insert(keys_.name(number));
    }
    const auto names = expect.at("keys").get<std::vector<std::string>>();
    EXPECT_EQ(std::vector<std::string>(known.begin(), known.end()), names);
    for (size_t k = 0; k < names.size(); ++k) {
      const int number = keys_.find(names[k]);
      std::vector<int> n_held(static_cast<size_t>(n_workers_)), n_owned(n_held);
      for (int slot = 0; slot < tracker_.n_slots(); ++slot) {
        std::vector<int> holders;
        for (int worker = 0; worker < n_workers_; ++worker) {
          if (!tracker_.holds(worker, slot, number)) continue;
          holders.push_back(worker);
          ++n_held[static_cast<size_t>(worker)];
        }
        const int owner = tracker_.owner(slot, number);
        if (owner >= 0) ++n_owned[static_cast<size_t>(owner)];
        if (!expect.contains("holders")) continue;
        EXPECT_EQ(json(holders), expect.at("holders").at(k).at(static_cast<size_t>(slot)));
        EXPECT_EQ(json(owner), expect.at("owner").at(k).at(static_cast<size_t>(slot)));
      }
      if (expect.contains("n_held")) {
        EXPECT_EQ(json(n_held), expect.at("n_held").at(k));
        EXPECT_EQ(json(n_owned), expect.at("n_owned").at(k));
      }
    }
  }

  int n_workers_;
  std::vector<std::string> names_;
  KeyTable keys_;
  StorageTracker tracker_;
  std::vector<uint64_t> order_;
  std::vector<int> node_;
};

TEST(PlannerGolden, EveryOperationMatches) {
  const golden::QuirkChoices quirks = {
      {"duplicate-gather",
       {golden::Quirk::kAsReference, "the plan lists both; the moves made of it send one"}},
      {"empty-dests", {golden::Quirk::kAsReference, "an error: nobody should plan for nothing"}},
      {"duplicate-key", {golden::Quirk::kAsReference, "an error in every pattern"}}};

  golden::for_each_case("planner.json", "cases",
                        [](const Case& c) {
                          PlannerCase planner(c);
                          int place = 0;
                          for (const json& op : c["ops"]) {
                            SCOPED_TRACE("op " + std::to_string(place++));
                            planner.run(op);
                            if (golden::case_has_failed()) break;  // the rest would repeat it
                          }
                        },
                        {.quirks = quirks});
}

}  // namespace
}  // namespace orrery::master
