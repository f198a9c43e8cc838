#include "orrery/comm/registry.h"

#include <gtest/gtest.h>

#include <mutex>

#include "orrery/base/error.h"
#include "registry_checks.h"
#include "support/thread_communicator.h"

namespace orrery::comm {
namespace {

TEST(Registry, HasTheGroupsOfEveryReplicaAndSharesEqualOnes) {
  run_as_threads(
      4, [](Communicator& group) { check_registry(group.split(0, group.rank(), "workers")); });
}

TEST(Registry, RefusesAPlanForAnotherNumberOfWorkers) {
  run_as_threads(2, [](Communicator& group) {
    const auto plan = graph::plan_communicators({replica_for_test("actor", "d1@0")}, 1);
    auto workers = group.split(0, group.rank(), "workers");
    EXPECT_THROW(CommunicatorRegistry::create(std::move(workers), plan), CallError);
  });
}

}  // namespace
}  // namespace orrery::comm
