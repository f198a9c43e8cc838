// Whole runs of random graphs on simulated workers: no deadlock, every sample where it is needed
// with the right lengths, every call on the right version of its parameters, nothing left behind;
// and the same batches whatever the order in which replies arrive.
#include <gtest/gtest.h>

#include "orrery/master/dispatcher.h"
#include "random_graph_for_test.h"
#include "simulated_workers.h"

namespace orrery::master {
namespace {

constexpr int64_t kSteps = 3;
constexpr int64_t kRows = 29;

struct Trial {
  graph::Graph graph;
  DispatcherOptions options;
};

Trial random_trial(int round) {
  Random random(round);
  Trial trial;
  trial.options.n_workers = random.between(4, 8);
  trial.graph = random_graph(random, trial.options.n_workers);
  trial.options.redistribution = static_cast<Pattern>(random.between(0, 2));
  for (int worker = 0; worker < trial.options.n_workers; ++worker) {
    trial.options.node_of_worker.push_back(worker / 3);
  }
  trial.options.stop.total_steps = kSteps;
  for (int call = 0; call < trial.graph.size(); ++call) {
    if (trial.graph.call(call).kind == graph::CallKind::kTrainStep) {
      trial.options.evaluate.calls.push_back(call);
    } else if (random.chance(50)) {
      trial.options.residency.offload_when_idle.insert(trial.graph.call(call).role);
    }
  }
  trial.options.evaluate.frequency.every_steps = random.between(0, 2);
  trial.options.evaluate.at_start = random.chance(50);
  trial.options.evaluate.at_end = random.chance(50);
  trial.options.export_models.directory = "models";
  trial.options.export_models.at_end = random.chance(50);
  trial.options.checkpoint.directory = "checkpoints";
  trial.options.checkpoint.frequency.every_steps = random.between(0, 2);
  if (random.chance(50)) {
    trial.options.memory.worker_bytes = random.between(1, 3);
    for (const graph::Replica& replica : graph::replicas_of(trial.graph)) {
      trial.options.memory.shard_bytes[replica.id] = 1;
    }
  }
  return trial;
}

data::DataOrder order_for(const graph::Graph& graph) {
  return data::DataOrder({{.name = "rows", .n_rows = kRows}},
                         {.seed = 5, .samples_per_step = graph.samples_per_step()});
}

struct Outcome {
  SimulatedWorkers::Batches batches;
  std::vector<Report> reports;
};

/// Runs to the end; replies arrive in an order that `arrival` draws.
Outcome run(const Trial& trial, Random arrival) {
  Dispatcher dispatcher(trial.graph, order_for(trial.graph), trial.options);
  SimulatedWorkers workers(trial.graph, trial.options.n_workers);
  Outcome outcome;
  std::vector<comm::Reply> replies;
  for (double now = 0; !dispatcher.is_finished(); now += 0.25) {
    workers.receive(dispatcher.advance(std::move(replies), now));
    EXPECT_TRUE(dispatcher.failures().empty());
    for (Report& report : dispatcher.take_reports()) outcome.reports.push_back(std::move(report));
    workers.work(arrival.between(0, 12));
    replies = workers.some_replies(arrival);
    if (replies.empty() && dispatcher.n_outstanding() > 0 && workers.work(1000000) == 0) {
      replies = workers.some_replies(arrival);
      if (replies.empty()) {
        ADD_FAILURE() << "deadlock:" << workers.standstill();
        return outcome;
      }
    }
    if (::testing::Test::HasFailure()) return outcome;
  }
  EXPECT_TRUE(workers.has_left());
  const auto per_step = static_cast<size_t>(trial.graph.samples_per_step());
  EXPECT_LE(workers.samples_held().size(), per_step) << "samples of earlier steps were kept";
  EXPECT_EQ(dispatcher.buffer().size(), 0);
  outcome.batches = workers.batches();
  return outcome;
}

/// Batches by data rank: heads answer in any order.
SimulatedWorkers::Batches by_rank(SimulatedWorkers::Batches batches) {
  for (auto& [key, runs] : batches) {
    std::stable_sort(runs.begin(), runs.end(),
                     [](const auto& a, const auto& b) { return a.front() < b.front(); });
  }
  return batches;
}

void expect_every_call_saw_every_sample(const Trial& trial, const Outcome& outcome) {
  for (int64_t step = 1; step <= kSteps; ++step) {
    std::set<uint64_t> first;
    for (int call = 0; call < trial.graph.size(); ++call) {
      std::multiset<uint64_t> seen;
      const auto found = outcome.batches.find({step, call});
      ASSERT_NE(found, outcome.batches.end());
      for (const std::vector<uint64_t>& batch : found->second) {
        seen.insert(batch.begin() + 1, batch.end());
      }
      const std::set<uint64_t> once(seen.begin(), seen.end());
      EXPECT_EQ(seen.size(), once.size()) << "a sample twice in a call";
      EXPECT_EQ(static_cast<int64_t>(once.size()), trial.graph.samples_per_step());
      if (call == 0) first = once;
      EXPECT_EQ(once, first) << "calls of a step saw different samples";
    }
  }
}

TEST(WholeRun, RandomGraphsRunToTheEndInAnyOrderOfArrival) {
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const Trial trial = random_trial(round);

    const Outcome one = run(trial, Random(1000 + round));
    if (HasFailure()) return;
    const Outcome other = run(trial, Random(5000 + round));

    expect_every_call_saw_every_sample(trial, one);
    EXPECT_EQ(by_rank(one.batches), by_rank(other.batches));
    if (HasFailure()) return;
  }
}

TEST(WholeRun, ReportsEveryStepWithStatisticsOfHeadsOnly) {
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const Trial trial = random_trial(round);

    const Outcome outcome = run(trial, Random(round));

    int64_t steps = 0;
    for (const Report& report : outcome.reports) {
      const auto* const step = std::get_if<StepReport>(&report);
      if (step == nullptr) continue;
      EXPECT_EQ(step->step.step, ++steps);
      ASSERT_EQ(static_cast<int>(step->calls.size()), trial.graph.size());
      for (int call = 0; call < trial.graph.size(); ++call) {
        const CallReport& got = step->calls[static_cast<size_t>(call)];
        EXPECT_EQ(got.runs, trial.graph.calls_per_step(call));
        EXPECT_EQ(got.minibatches.size(), static_cast<size_t>(2 * got.runs));
        for (const metrics::Statistics& minibatch : got.minibatches) {
          EXPECT_DOUBLE_EQ(*minibatch.value("loss"), 3);
          EXPECT_DOUBLE_EQ(minibatch.find("loss")->weight,
                           static_cast<double>(trial.graph.call(call).n_seqs));
        }
      }
    }
    EXPECT_EQ(steps, kSteps);
    ASSERT_TRUE(std::holds_alternative<FinishReport>(outcome.reports.back()));
    EXPECT_EQ(std::get<FinishReport>(outcome.reports.back()).reason, StopReason::kSteps);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace orrery::master
