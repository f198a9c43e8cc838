// The driver with workers in the same thread: a whole run, errors, silence, a stop flag.
#include "orrery/master/step_loop.h"

#include <gtest/gtest.h>

#include <thread>

#include "calls_for_test.h"
#include "orrery/base/clock.h"
#include "orrery/base/error.h"
#include "simulated_workers.h"

namespace orrery::master {
namespace {

/// A channel whose far end is a set of simulated workers.
class SimulatedChannel : public comm::ControlChannel {
 public:
  SimulatedChannel(const graph::Graph& graph, int n_workers)
      : workers_(graph, n_workers), n_workers_(n_workers) {}

  int n_workers() const override { return n_workers_; }
  void send(int worker, const comm::Request& request) override {
    const bool is_for_all =
        request.kind == comm::RequestKind::kFlush || request.kind == comm::RequestKind::kExit;
    if (is_for_all && worker + 1 < n_workers_) return;  // one mark for all of them
    outgoing_.push_back({is_for_all ? kEveryWorker : worker, request});
    if (!is_for_all) return;
    workers_.receive(outgoing_);
    outgoing_.clear();
    if (!is_silent) workers_.work(1000000);
  }
  std::optional<comm::Reply> poll() override {
    if (!unasked.empty()) {
      comm::Reply reply = std::move(unasked.front());
      unasked.erase(unasked.begin());
      return reply;
    }
    if (replies_.empty()) {
      for (comm::Reply& reply : workers_.some_replies(random_)) {
        replies_.push_back(std::move(reply));
      }
    }
    if (replies_.empty()) return std::nullopt;
    comm::Reply reply = std::move(replies_.front());
    replies_.erase(replies_.begin());
    if (reply.call == failing_call && reply.worker == failing_worker) {
      reply.error = "disk on fire";
      reply.error_kind = failing_kind;
    }
    return reply;
  }
  std::optional<comm::Reply> wait(std::chrono::nanoseconds limit) override {
    std::optional<comm::Reply> reply = poll();
    if (!reply)
      std::this_thread::sleep_for(
          std::min<std::chrono::nanoseconds>(limit, std::chrono::milliseconds(1)));
    return reply;
  }
  int64_t n_unsent() const override { return 0; }
  void drain(std::chrono::nanoseconds) override { drained = true; }

  bool is_silent = false;
  int failing_call = -1;
  int failing_worker = -1;
  std::vector<comm::Reply> unasked;
  ErrorKind failing_kind = ErrorKind::kCallError;
  bool drained = false;

 private:
  SimulatedWorkers workers_;
  int n_workers_;
  Random random_{0};
  std::vector<Outgoing> outgoing_;
  std::vector<comm::Reply> replies_;
};

class Recorder : public StepObserver {
 public:
  void on_step(const StepReport& report) override {
    ++n_steps;
    EXPECT_GT(report.master_seconds, 0);
  }
  void on_evaluation(const EvaluationReport&) override { ++n_evaluations; }
  void on_save(const SaveReport&) override { ++n_saves; }
  void on_finish(const FinishReport&) override { ++n_finishes; }

  int n_steps = 0, n_evaluations = 0, n_saves = 0, n_finishes = 0;
};

const GrpoLayouts kLayouts = {.generate = "d2t1p1@0-1", .reward = "d1t1p1@1"};

DispatcherOptions options_for_test() {
  DispatcherOptions options;
  options.n_workers = 2;
  options.stop.total_steps = 3;
  options.evaluate = {.frequency = {.every_steps = 1}, .at_start = true};
  options.evaluate.sets.push_back({.name = {}, .prefix = "eval/", .calls = {2}, .measures = {}});
  options.checkpoint.directory = "c";
  return options;
}

TEST(StepLoop, RunsToTheEndAndTellsTheObserver) {
  const graph::Graph graph = grpo_graph(kLayouts);
  Dispatcher dispatcher(graph, order_of(16, 4), options_for_test());
  SimulatedChannel channel(graph, 2);
  Recorder recorder;

  const StopReason reason = run_steps(dispatcher, channel, recorder, {});

  EXPECT_EQ(reason, StopReason::kSteps);
  EXPECT_EQ(recorder.n_steps, 3);
  EXPECT_EQ(recorder.n_evaluations, 4);
  EXPECT_EQ(recorder.n_finishes, 1);
  EXPECT_TRUE(channel.drained);
}

TEST(StepLoop, EndsAfterTheStepAtHandWhenTheStopFlagIsSet) {
  const graph::Graph graph = grpo_graph(kLayouts);
  Dispatcher dispatcher(graph, order_of(16, 4), options_for_test());
  SimulatedChannel channel(graph, 2);
  Recorder recorder;

  const StopReason reason =
      run_steps(dispatcher, channel, recorder,
                {.stop_requested = [&] { return recorder.n_evaluations > 0; }});

  EXPECT_EQ(reason, StopReason::kStopRequested);
  EXPECT_LE(recorder.n_steps, 1);
  EXPECT_EQ(recorder.n_saves, recorder.n_steps == 0 ? 0 : 1);
}

TEST(StepLoop, ReportsWorkerCallAndHandleOfAnError) {
  const graph::Graph graph = grpo_graph(kLayouts);
  Dispatcher dispatcher(graph, order_of(16, 4), options_for_test());
  SimulatedChannel channel(graph, 2);
  channel.failing_call = 1;
  channel.failing_worker = 0;  // which has a side request of that call only
  Recorder recorder;

  try {
    run_steps(dispatcher, channel, recorder, {.error_collection_seconds = 0.02});
    FAIL() << "no error";
  } catch (const CallError& error) {
    EXPECT_STREQ(error.what(), "worker 0, call reward, empty: disk on fire");
  }
}

TEST(StepLoop, EndsWithTheErrorOfAWorkerThatCouldNotBeMade) {
  const graph::Graph graph = grpo_graph(kLayouts);
  Dispatcher dispatcher(graph, order_of(16, 4), options_for_test());
  SimulatedChannel channel(graph, 2);
  channel.is_silent = true;
  for (const int worker : {1, 0}) {
    comm::Reply reply;
    reply.worker = worker;
    reply.error = "model.actor: no such file";
    reply.exit_code = static_cast<int>(ExitCode::kBadConfiguration);
    reply.error_kind = ErrorKind::kConfigError;
    channel.unasked.push_back(reply);
  }
  Recorder recorder;

  try {
    run_steps(dispatcher, channel, recorder, {.error_collection_seconds = 0.02});
    FAIL() << "no error";
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "worker 1: model.actor: no such file (the same from worker 0)");
  }
}

TEST(StepLoop, NamesWhoDoesNotAnswerWhenTheDeadlineHasPassed) {
  const graph::Graph graph = grpo_graph(kLayouts);
  Dispatcher dispatcher(graph, order_of(16, 4), options_for_test());
  SimulatedChannel channel(graph, 2);
  channel.is_silent = true;
  Recorder recorder;
  int asked = 0;
  const base::Stopwatch watch;

  try {
    run_steps(dispatcher, channel, recorder,
              {.deadline_seconds = 0.05, .any_progress = [&] { return ++asked < 3; }});
    FAIL() << "no error";
  } catch (const PeerError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("worker 0 (call actor_train, evaluate"), std::string::npos) << text;
  }
  EXPECT_EQ(asked, 3) << "progress puts the deadline off";
  EXPECT_GE(watch.seconds(), 0.15);
}

template <class Kind>
void expect_kind_of_a_workers_error(ErrorKind kind) {
  const graph::Graph graph = grpo_graph(kLayouts);
  Dispatcher dispatcher(graph, order_of(16, 4), options_for_test());
  SimulatedChannel channel(graph, 2);
  channel.failing_call = 1;
  channel.failing_worker = 0;
  channel.failing_kind = kind;
  Recorder recorder;
  EXPECT_THROW(run_steps(dispatcher, channel, recorder, {.error_collection_seconds = 0.01}), Kind);
}

TEST(StepLoop, AWorkersErrorKeepsItsClass) {
#define ORRERY_CHECK(Name, code) expect_kind_of_a_workers_error<Name>(ErrorKind::k##Name);
  ORRERY_ERROR_CLASSES(ORRERY_CHECK)
#undef ORRERY_CHECK
}

}  // namespace
}  // namespace orrery::master
