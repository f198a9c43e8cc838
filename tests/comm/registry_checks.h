// A registry for two replicas of different layouts, checked on any backend with 4 workers.
#pragma once

#include <gtest/gtest.h>

#include "orrery/base/error.h"
#include "orrery/comm/registry.h"

namespace orrery::comm {

inline graph::Replica replica_for_test(const std::string& role, const std::string& layout) {
  return {.id = {role, 0}, .layout = graph::Layout::parse(layout)};
}

inline void check_registry(std::unique_ptr<Communicator> workers) {
  const int worker = workers->rank();
  const graph::CommunicatorPlan plan = graph::plan_communicators(
      {replica_for_test("actor", "d2t2p1@0-3"), replica_for_test("ref", "d1t2p1@3,1")}, 4);
  const CommunicatorRegistry registry = CommunicatorRegistry::create(std::move(workers), plan);
  const auto members = [&](const std::string& role, graph::GroupKind kind) {
    const Communicator* group = registry.find({role, 0}, kind);
    return group == nullptr ? std::vector<int>{} : group->workers();
  };
  using enum graph::GroupKind;

  EXPECT_EQ(members("actor", kModel), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(registry.find({"actor", 0}, kModel), &registry.workers());
  EXPECT_EQ(members("actor", kTensor),
            worker < 2 ? (std::vector<int>{0, 1}) : (std::vector<int>{2, 3}));
  EXPECT_EQ(members("actor", kData),
            worker % 2 == 0 ? (std::vector<int>{0, 2}) : (std::vector<int>{1, 3}));
  EXPECT_EQ(members("actor", kPipe), std::vector<int>{worker});
  const bool holds_ref = worker % 2 == 1;
  EXPECT_EQ(members("ref", kTensor), holds_ref ? (std::vector<int>{3, 1}) : std::vector<int>{});
  EXPECT_EQ(members("ref", kModel), holds_ref ? (std::vector<int>{3, 1}) : std::vector<int>{});
  if (holds_ref) {
    EXPECT_EQ(registry.find({"ref", 0}, kModel), registry.find({"ref", 0}, kTensor));
    EXPECT_EQ(registry.at({"ref", 0}, kModel).rank(), worker == 3 ? 0 : 1);
  } else {
    EXPECT_THROW(registry.at({"ref", 0}, kModel), CallError);
  }

  at::Tensor sum = at::full({1}, worker, at::kLong).to(registry.workers().device_type());
  registry.at({"actor", 0}, kData).all_reduce(sum, ReduceOp::kSum);
  EXPECT_EQ(sum.item<int64_t>(), worker % 2 == 0 ? 2 : 4);
}

}  // namespace orrery::comm
