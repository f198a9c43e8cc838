// The dispatcher stepped by hand on small graphs, turn by turn.
#include "orrery/master/dispatcher.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "calls_for_test.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "simulated_workers.h"

namespace orrery::master {
namespace {

using comm::RequestKind;

/// `worker:handle` of each request, `*:flush` for all.
std::vector<std::string> sent(const std::vector<Outgoing>& outgoing) {
  std::vector<std::string> result;
  for (const Outgoing& out : outgoing) {
    const std::string worker = out.worker == kEveryWorker ? "*" : std::to_string(out.worker);
    result.push_back(worker + ":" + std::string(comm::name_of(out.request.kind)));
  }
  return result;
}

using Texts = std::vector<std::string>;

comm::Reply answer(const Outgoing& out) {
  comm::Reply reply;
  reply.worker = out.worker;
  reply.request = out.request.id;
  reply.call = out.request.call;
  return reply;
}

/// What a worker answers whose call made `keys`, one sequence of `length` a sample.
comm::Reply answer(const Outgoing& out, const Texts& keys, int32_t length = 3) {
  comm::Reply reply = answer(out);
  reply.output.ids = out.request.batch.ids;
  if (out.request.kind == RequestKind::kLoad) {
    for (const data::RowRef& row : out.request.rows) reply.output.ids.push_back(row.id);
  }
  for (const std::string& key : keys) {
    data::KeyMetadata made{.key = key, .trailing_shape = {}, .lengths = {}};
    for (size_t i = 0; i < reply.output.ids.size(); ++i) made.lengths.add_sample(length);
    reply.output.keys.push_back(made);
  }
  return reply;
}

std::vector<uint64_t> values(const std::vector<data::SampleId>& ids) {
  std::vector<uint64_t> result;
  for (const data::SampleId id : ids) result.push_back(id.value);
  return result;
}

std::vector<comm::Reply> list(comm::Reply reply) {
  std::vector<comm::Reply> replies;
  replies.push_back(std::move(reply));
  return replies;
}

DispatcherOptions one_step(int n_workers) {
  DispatcherOptions options;
  options.n_workers = n_workers;
  options.stop.total_steps = 1;
  return options;
}

TEST(Dispatcher, RunsAStepCallByCallAndEndsWithAnExit) {
  Dispatcher dispatcher(grpo_graph({}), order_of(8, 4), one_step(1));

  std::vector<Outgoing> out = dispatcher.advance({}, 0);
  EXPECT_EQ(sent(out), (Texts{"0:load", "*:flush"}));
  ASSERT_EQ(out[0].request.rows.size(), 4u);
  EXPECT_EQ(out[0].request.prefetch.size(), 4u);
  EXPECT_EQ(out[0].request.step, (comm::StepInfo{1, 0, 1}));

  EXPECT_TRUE(dispatcher.advance({}, 1).empty()) << "nothing arrived, nothing to do";

  out = dispatcher.advance(list(answer(out[0], {"packed_prompts"})), 2);
  EXPECT_EQ(sent(out), (Texts{"0:generate", "*:flush"}));
  EXPECT_EQ(values(out[0].request.batch.ids), (std::vector<uint64_t>{1, 2, 3, 4}));
  EXPECT_EQ(out[0].request.batch.keys.size(), 1u);
  ASSERT_EQ(out[0].request.pre_hooks.size(), 1u) << "an empty transfer, no realloc";

  out = dispatcher.advance(list(answer(out[0], {"packed_input_ids"})), 3);
  EXPECT_EQ(sent(out), (Texts{"0:inference", "*:flush"}));

  out = dispatcher.advance(list(answer(out[0], {"rewards"})), 4);
  EXPECT_EQ(sent(out), (Texts{"0:train_step", "*:flush"}));

  comm::Reply trained = answer(out[0]);
  trained.statistics.resize(1);
  trained.statistics[0].mean("loss", 8, 4);
  trained.times = {{"main", 0.5}};
  trained.memory = {{"main", 3000, 4096, 512}};
  out = dispatcher.advance(list(std::move(trained)), 6);
  EXPECT_EQ(sent(out), (Texts{"*:exit"}));
  EXPECT_TRUE(dispatcher.is_finished());
  EXPECT_EQ(dispatcher.stop_reason(), StopReason::kSteps);

  const std::vector<Report> reports = dispatcher.take_reports();
  ASSERT_EQ(reports.size(), 2u);
  const auto& step = std::get<StepReport>(reports[0]);
  EXPECT_EQ(step.seconds, 6);
  const std::map<std::string, double> numbers = numbers_of(step.calls[2]);
  EXPECT_EQ(numbers.at("actor_train/loss"), 2);
  EXPECT_EQ(numbers.at("time/actor_train/main/max"), 0.5);
  EXPECT_EQ(numbers.at("time/actor_train/total"), 2);
  EXPECT_EQ(numbers.at("memory/actor_train/peak_bytes"), 3000);
}

TEST(Dispatcher, WaitsForAllHeadsAndFilesTheirRepliesByDataRank) {
  Dispatcher dispatcher(grpo_graph({.generate = "d2t1p1@0-1"}), order_of(8, 4), one_step(2));
  std::vector<Outgoing> out = dispatcher.advance({}, 0);
  ASSERT_EQ(sent(out), (Texts{"0:load", "1:load", "*:flush"}));

  EXPECT_TRUE(dispatcher.advance(list(answer(out[1], {"packed_prompts"})), 1).empty());
  out = dispatcher.advance(list(answer(out[0], {"packed_prompts"})), 1);

  ASSERT_EQ(sent(out), (Texts{"0:generate", "1:generate", "*:flush"}));
  EXPECT_EQ(values(out[0].request.batch.ids), (std::vector<uint64_t>{1, 3}));
  EXPECT_EQ(values(out[1].request.batch.ids), (std::vector<uint64_t>{2, 4}));

  EXPECT_TRUE(dispatcher.advance(list(answer(out[1], {"packed_input_ids"}, 7)), 2).empty());
  out = dispatcher.advance(list(answer(out[0], {"packed_input_ids"}, 5)), 2);

  // The reward runs on worker 0 and needs what worker 1 made: a side request carries the transfer.
  ASSERT_EQ(sent(out), (Texts{"0:inference", "1:empty", "*:flush"}));
  EXPECT_EQ(values(out[0].request.batch.ids), (std::vector<uint64_t>{1, 2, 3, 4}));
  const data::NestedLengths lengths = out[0].request.batch.keys[0].lengths;
  EXPECT_EQ(lengths, (data::NestedLengths{{5}, {7}, {5}, {7}}));
  const auto& hook = std::get<comm::DataTransferHook>(out[1].request.pre_hooks.at(0));
  ASSERT_EQ(hook.transfers.size(), 1u);
  EXPECT_EQ(hook.transfers[0].source, 1);
  EXPECT_EQ(hook.transfers[0].destinations, (std::vector<int>{0}));
  EXPECT_EQ(values(hook.transfers[0].batch.ids), (std::vector<uint64_t>{2, 4}));
}

TEST(Dispatcher, ReallocatesForAReplicaThatIsOutdatedOnly) {
  DispatcherOptions options = one_step(2);
  options.stop.total_steps = 2;
  Dispatcher dispatcher(grpo_graph({.generate = "d1t1p1@1", .train = "d1t1p1@0"}), order_of(16, 4),
                        options);
  std::vector<Outgoing> out = dispatcher.advance({}, 0);

  out = dispatcher.advance(list(answer(out[0], {"packed_prompts"})), 0);

  // Worker 0 holds the trained replica and takes part in the reallocation only.
  ASSERT_EQ(sent(out), (Texts{"1:generate", "0:empty", "*:flush"}));
  const auto& realloc = std::get<comm::ReallocHook>(out[0].request.pre_hooks.at(1));
  EXPECT_EQ(realloc.from, 0);
  EXPECT_EQ(realloc.to, 1);
  EXPECT_EQ(realloc.version, 0u);
  EXPECT_EQ(dispatcher.replicas().version({"actor", 0}), 0);
}

TEST(Dispatcher, TellsHoldersToForgetWithTheirNextRequest) {
  DispatcherOptions options = one_step(1);
  options.stop.total_steps = 2;
  Dispatcher dispatcher(grpo_graph({}), order_of(16, 4), options);
  std::vector<Outgoing> out = dispatcher.advance({}, 0);
  for (const Texts& keys :
       {Texts{"packed_prompts"}, Texts{"packed_input_ids"}, Texts{"rewards"}, Texts{}}) {
    EXPECT_TRUE(out[0].request.clear.empty());
    out = dispatcher.advance(list(answer(out[0], keys)), 0);
  }

  ASSERT_EQ(sent(out), (Texts{"0:load", "*:flush"}));
  EXPECT_EQ(values(out[0].request.clear), (std::vector<uint64_t>{1, 2, 3, 4}));
  EXPECT_EQ(dispatcher.buffer().size(), 0);
  EXPECT_EQ(dispatcher.steps_done(), 1);
}

/// Answers until the dispatcher is finished; returns everything that was sent.
std::vector<Outgoing> run_to_end(Dispatcher& dispatcher, const graph::Graph& graph, int n_workers) {
  SimulatedWorkers workers(graph, n_workers, dispatcher.steps_done());
  Random random(0);
  std::vector<Outgoing> all;
  std::vector<comm::Reply> replies;
  while (!dispatcher.is_finished()) {
    std::vector<Outgoing> out = dispatcher.advance(std::move(replies), 1);
    workers.receive(out);
    all.insert(all.end(), out.begin(), out.end());
    workers.work(1000000);
    replies = workers.some_replies(random);
  }
  return all;
}

int count(const std::vector<Outgoing>& outgoing, RequestKind kind) {
  return static_cast<int>(std::count_if(outgoing.begin(), outgoing.end(),
                                        [&](const Outgoing& o) { return o.request.kind == kind; }));
}

/// One without a name, of the train_step.
std::vector<EvaluatedSet> only_set() {
  return {{.name = {}, .prefix = "eval/", .calls = {2}, .measures = {}}};
}

TEST(Dispatcher, EvaluatesAtTheStartInBetweenAndAtTheEndOnceEach) {
  const graph::Graph graph = grpo_graph({});
  DispatcherOptions options = one_step(1);
  options.stop.total_steps = 4;
  options.evaluate = {
      .frequency = {.every_steps = 2}, .at_start = true, .at_end = true, .sets = only_set()};
  Dispatcher dispatcher(graph, order_of(16, 4), options);

  const std::vector<Outgoing> all = run_to_end(dispatcher, graph, 1);

  std::vector<int64_t> steps;
  for (const Report& report : dispatcher.take_reports()) {
    if (const auto* evaluation = std::get_if<EvaluationReport>(&report)) {
      steps.push_back(evaluation->step);
      EXPECT_EQ(evaluation->call, "actor_train");
      EXPECT_EQ(evaluation->statistics.value("eval/accuracy"), 0.5);
    }
  }
  EXPECT_EQ(steps, (std::vector<int64_t>{0, 2, 4}));
  EXPECT_EQ(count(all, RequestKind::kEvaluate), 3);
}

TEST(Dispatcher, StopsOnceAnEvaluationIsRightAsOftenAsAskedFor) {
  const graph::Graph graph = grpo_graph({});
  DispatcherOptions options = one_step(1);
  options.stop.total_steps = 9;
  options.evaluate = {.frequency = {.every_steps = 2}, .sets = only_set(), .stop_at_accuracy = 0.5};
  options.checkpoint = {.frequency = {.every_steps = 2}, .at_end = false, .directory = "c"};
  Dispatcher dispatcher(graph, order_of(16, 4), options);

  run_to_end(dispatcher, graph, 1);

  EXPECT_EQ(dispatcher.steps_done(), 2);
  EXPECT_EQ(dispatcher.stop_reason(), StopReason::kTarget);
  for (const Report& report : dispatcher.take_reports()) {
    const auto* save = std::get_if<SaveReport>(&report);
    if (save == nullptr) continue;
    EXPECT_TRUE(save->state.target_reached);  // so that a resumed run stops too
    Dispatcher resumed(graph, order_of(16, 4), options);
    resumed.restore(save->state);
    run_to_end(resumed, graph, 1);
    EXPECT_EQ(resumed.steps_done(), 2);
  }
}

TEST(Dispatcher, GoesOnWhileAnEvaluationIsRightLessOften) {
  const graph::Graph graph = grpo_graph({});
  DispatcherOptions options = one_step(1);
  options.stop.total_steps = 4;
  options.evaluate = {.frequency = {.every_steps = 2}, .sets = only_set(), .stop_at_accuracy = 0.6};
  Dispatcher dispatcher(graph, order_of(16, 4), options);

  run_to_end(dispatcher, graph, 1);

  EXPECT_EQ(dispatcher.steps_done(), 4);
  EXPECT_EQ(dispatcher.stop_reason(), StopReason::kSteps);
}

TEST(Dispatcher, EvaluatesEverySetUnderItsName) {
  const graph::Graph graph = grpo_graph({});
  DispatcherOptions options = one_step(1);
  options.evaluate.at_end = true;
  options.evaluate.sets = {
      {.name = "easy", .prefix = "eval/easy/", .calls = {2}, .measures = {}},
      {.name = "hard", .prefix = "eval/hard/", .calls = {2}, .measures = {}, .n_in_training = 3}};
  Dispatcher dispatcher(graph, order_of(16, 4), options);

  const std::vector<Outgoing> all = run_to_end(dispatcher, graph, 1);

  std::vector<std::string> asked, reported;
  for (const Outgoing& out : all) {
    if (out.request.kind == RequestKind::kEvaluate) asked.push_back(out.request.body);
  }
  for (const Report& report : dispatcher.take_reports()) {
    const auto* evaluation = std::get_if<EvaluationReport>(&report);
    if (evaluation == nullptr) continue;
    reported.push_back(evaluation->set);
    const std::string prefix = "eval/" + evaluation->set + "/";
    EXPECT_EQ(evaluation->statistics.value(prefix + "accuracy"), 0.5);
    EXPECT_EQ(evaluation->statistics.value(prefix + "n_in_training").has_value(),
              evaluation->set == "hard");
  }
  EXPECT_EQ(asked, (std::vector<std::string>{"easy", "hard"}));
  EXPECT_EQ(reported, (std::vector<std::string>{"easy", "hard"}));
}

/// Keeps the model that is best by a metric, and takes checkpoints after every step.
DispatcherOptions with_best(const std::string& metric, int64_t stop_after) {
  DispatcherOptions options = one_step(1);
  options.stop.total_steps = 9;
  options.evaluate = {.frequency = {.every_steps = 1},
                      .at_start = true,
                      .at_end = true,
                      .sets = only_set(),
                      .best_metric = "eval/" + metric,
                      .stop_after = stop_after};
  options.export_models = {.frequency = {}, .at_end = false, .directory = "m"};
  options.checkpoint = {.frequency = {.every_steps = 1}, .at_end = true, .directory = "c"};
  return options;
}

TEST(Dispatcher, ExportsTheModelWheneverAnEvaluationIsBetterThanEver) {
  const graph::Graph graph = grpo_graph({});
  Dispatcher dispatcher(graph, order_of(16, 4), with_best("rising", 0));

  run_to_end(dispatcher, graph, 1);

  std::vector<int64_t> exported, best, in_checkpoints;
  for (const Report& report : dispatcher.take_reports()) {
    const auto* save = std::get_if<SaveReport>(&report);
    if (save == nullptr) continue;
    if (save->kind == SaveKind::kExport) exported.push_back(save->step);
    if (save->kind == SaveKind::kCheckpoint) in_checkpoints.push_back(save->state.best.step);
    if (save->kind != SaveKind::kBest) continue;
    best.push_back(save->step);
    EXPECT_EQ(exported, best) << "an export is whole before it is the best one";
    EXPECT_EQ(save->directory, "m/" + base::step_name(save->step));
  }
  EXPECT_EQ(best, (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(in_checkpoints, (std::vector<int64_t>{1, 2, 3, 4, 4, 4, 4, 4, 4}));
}

TEST(Dispatcher, StopsWhenNothingHasBeenBetterForSoManyEvaluations) {
  const graph::Graph graph = grpo_graph({});
  Dispatcher dispatcher(graph, order_of(16, 4), with_best("rising", 2));

  run_to_end(dispatcher, graph, 1);

  EXPECT_EQ(dispatcher.steps_done(), 6) << "the best one after step 4, then twice no better";
  EXPECT_EQ(dispatcher.stop_reason(), StopReason::kNoRise);
  int n_resumed = 0;
  for (const Report& report : dispatcher.take_reports()) {
    const auto* save = std::get_if<SaveReport>(&report);
    if (save == nullptr || save->kind != SaveKind::kCheckpoint) continue;
    ++n_resumed;
    Dispatcher resumed(graph, order_of(16, 4), with_best("rising", 2));
    resumed.restore(save->state);
    run_to_end(resumed, graph, 1);
    EXPECT_EQ(resumed.steps_done(), 6) << "from step " << save->step;
    EXPECT_EQ(resumed.state().best, dispatcher.state().best) << "from step " << save->step;
  }
  EXPECT_EQ(n_resumed, 6);
}

TEST(Dispatcher, ForgetsWhatWasBestByAnotherMetric) {
  const graph::Graph graph = grpo_graph({});
  Dispatcher before(graph, order_of(16, 4), with_best("rising", 0));
  run_to_end(before, graph, 1);

  Dispatcher resumed(graph, order_of(16, 4), with_best("accuracy", 0));
  resumed.restore(before.state());

  EXPECT_EQ(resumed.state().best.metric, "eval/accuracy");
  EXPECT_EQ(resumed.state().best.step, -1);
}

TEST(Dispatcher, ExportsAndChecksPointsWithTheStateOfTheirStep) {
  const graph::Graph graph = grpo_graph({});
  DispatcherOptions options = one_step(1);
  options.stop.total_steps = 3;
  options.export_models = {.frequency = {}, .at_end = true, .directory = "m"};
  options.checkpoint = {.frequency = {.every_steps = 2}, .at_end = false, .directory = "c"};
  Dispatcher dispatcher(graph, order_of(16, 4), options);

  run_to_end(dispatcher, graph, 1);

  std::vector<SaveReport> saves;
  for (const Report& report : dispatcher.take_reports()) {
    if (const auto* save = std::get_if<SaveReport>(&report)) saves.push_back(*save);
  }
  ASSERT_EQ(saves.size(), 2u);
  EXPECT_EQ(saves[0].kind, SaveKind::kCheckpoint);
  EXPECT_EQ(saves[0].directory, "c/step-00000002");
  EXPECT_EQ(saves[0].state.steps_done, 2);
  EXPECT_EQ(saves[0].state.order.next_id, 9u) << "samples announced ahead are not drawn yet";
  EXPECT_EQ(saves[0].state.role_versions.at("actor"), 2);
  EXPECT_EQ(saves[1].kind, SaveKind::kExport);
  EXPECT_EQ(saves[1].directory, "m/step-00000003/actor");
}

/// Rows of all loads, in order.
std::vector<int64_t> rows_loaded(const std::vector<Outgoing>& outgoing) {
  std::vector<int64_t> rows;
  for (const Outgoing& out : outgoing) {
    for (const data::RowRef& row : out.request.rows) rows.push_back(row.row);
  }
  return rows;
}

TEST(Dispatcher, ContinuesFromASavedStateWithTheSameRows) {
  const graph::Graph graph = grpo_graph({});
  DispatcherOptions options = one_step(1);
  options.stop.total_steps = 4;
  options.checkpoint = {.frequency = {.every_steps = 2}, .at_end = false, .directory = "c"};
  Dispatcher whole(graph, order_of(10, 4), options);
  const std::vector<int64_t> all_rows = rows_loaded(run_to_end(whole, graph, 1));
  MasterState state;
  for (const Report& report : whole.take_reports()) {
    const auto* save = std::get_if<SaveReport>(&report);
    if (save != nullptr && save->step == 2) state = save->state;
  }

  Dispatcher resumed(graph, order_of(10, 4), options);
  resumed.restore(state);
  std::vector<Outgoing> out = resumed.advance({}, 0);

  EXPECT_EQ(rows_loaded(out), std::vector<int64_t>(all_rows.begin() + 8, all_rows.begin() + 12));
  EXPECT_EQ(out[0].request.step.step, 3);
}

TEST(Dispatcher, FinishesTheStepAndSavesWhenAStopIsRequested) {
  DispatcherOptions options = one_step(1);
  options.stop.total_steps = 100;
  options.checkpoint.directory = "c";
  Dispatcher dispatcher(grpo_graph({}), order_of(16, 4), options);
  std::vector<Outgoing> out = dispatcher.advance({}, 0);
  dispatcher.request_stop();

  for (const Texts& keys :
       {Texts{"packed_prompts"}, Texts{"packed_input_ids"}, Texts{"rewards"}, Texts{}}) {
    out = dispatcher.advance(list(answer(out[0], keys)), 0);
  }

  ASSERT_EQ(sent(out), (Texts{"0:save", "0:save_end", "*:flush"}));
  EXPECT_EQ(out[0].request.body, "c/step-00000001");
  dispatcher.advance(list(answer(out[0])), 0);
  EXPECT_FALSE(dispatcher.is_finished()) << "copied, but not written";
  comm::Reply written = answer(out[1]);
  written.saved = {{.step = 1, .file = "worker-0000.h5", .size = 1, .hash = 1}};
  EXPECT_EQ(sent(dispatcher.advance(list(std::move(written)), 0)), (Texts{"*:exit"}));
  EXPECT_EQ(dispatcher.stop_reason(), StopReason::kStopRequested);
}

TEST(Dispatcher, StopsByEpochsAndBySeconds) {
  const graph::Graph graph = grpo_graph({});
  DispatcherOptions epochs = one_step(1);
  epochs.stop = {.total_epochs = 2};
  Dispatcher by_epochs(graph, order_of(10, 4), epochs);
  DispatcherOptions seconds = one_step(1);
  seconds.stop = {.total_seconds = 0.5};
  Dispatcher by_seconds(graph, order_of(10, 4), seconds);

  run_to_end(by_epochs, graph, 1);
  run_to_end(by_seconds, graph, 1);

  EXPECT_EQ(by_epochs.steps_done(), 5);  // 20 samples of 10 rows
  EXPECT_EQ(by_epochs.stop_reason(), StopReason::kEpochs);
  EXPECT_EQ(by_seconds.stop_reason(), StopReason::kSeconds);
}

TEST(Dispatcher, KeepsAnErrorAlsoOfASideRequestAndSendsNothingMore) {
  Dispatcher dispatcher(grpo_graph({.generate = "d2t1p1@0-1"}), order_of(8, 4), one_step(2));
  std::vector<Outgoing> out = dispatcher.advance({}, 0);
  std::vector<comm::Reply> replies = list(answer(out[0], {"packed_prompts"}));
  replies.push_back(answer(out[1], {"packed_prompts"}));
  out = dispatcher.advance(std::move(replies), 0);
  replies = list(answer(out[0], {"packed_input_ids"}));
  replies.push_back(answer(out[1], {"packed_input_ids"}));
  out = dispatcher.advance(std::move(replies), 0);
  ASSERT_EQ(sent(out), (Texts{"0:inference", "1:empty", "*:flush"}));

  comm::Reply failed = answer(out[1]);
  failed.error = "out of memory";
  EXPECT_TRUE(dispatcher.advance(list(failed), 0).empty());

  ASSERT_EQ(dispatcher.failures().size(), 1u);
  EXPECT_EQ(dispatcher.failures()[0].worker, 1);
  EXPECT_EQ(dispatcher.failures()[0].call, "reward");
  EXPECT_EQ(dispatcher.failures()[0].request_kind, RequestKind::kEmpty);
  EXPECT_EQ(dispatcher.failures()[0].error, "out of memory");
}

TEST(Dispatcher, RefusesRepliesThatDoNotFit) {
  Dispatcher dispatcher(grpo_graph({}), order_of(8, 4), one_step(1));
  std::vector<Outgoing> out = dispatcher.advance({}, 0);

  comm::Reply unknown = answer(out[0]);
  unknown.request += 7;
  EXPECT_THROW(dispatcher.advance(list(unknown), 0), ProtocolError);
  out = dispatcher.advance(list(answer(out[0], {"packed_prompts"})), 0);
  comm::Reply lacking = answer(out[0], {"something_else"});
  EXPECT_THROW(dispatcher.advance(list(lacking), 0), CallError);
}

TEST(Dispatcher, RefusesOtherSamplesThanAskedFor) {
  Dispatcher dispatcher(grpo_graph({}), order_of(8, 4), one_step(1));
  std::vector<Outgoing> out = dispatcher.advance({}, 0);
  out = dispatcher.advance(list(answer(out[0], {"packed_prompts"})), 0);

  comm::Reply reply = answer(out[0], {"packed_input_ids"});
  std::swap(reply.output.ids[0], reply.output.ids[1]);

  EXPECT_THROW(dispatcher.advance(list(reply), 0), CallError);
}

TEST(Dispatcher, TakesTheNextSamplesOfTheStepWhicheverAreReadyFirst) {
  std::vector<graph::Call> calls = grpo_graph({}).calls();
  calls[0].n_seqs = calls[1].n_seqs = 2;
  Dispatcher dispatcher(graph::Graph(calls), order_of(8, 4), one_step(1));
  std::vector<Outgoing> out = dispatcher.advance({}, 0);
  out = dispatcher.advance(list(answer(out[0], {"packed_prompts"})), 0);
  ASSERT_EQ(sent(out), (Texts{"0:generate", "0:generate", "*:flush"}));

  const comm::Reply first = answer(out[0], {"packed_input_ids"});
  EXPECT_TRUE(dispatcher.advance(list(answer(out[1], {"packed_input_ids"})), 0).empty());
  out = dispatcher.advance(list(first), 0);

  ASSERT_EQ(sent(out), (Texts{"0:inference", "0:inference", "*:flush"}));
  EXPECT_EQ(values(out[0].request.batch.ids), (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(values(out[1].request.batch.ids), (std::vector<uint64_t>{3, 4}));
}

TEST(Dispatcher, NamesTheCallAndKeyForWhichAStepCannotGoOn) {
  Dispatcher dispatcher(grpo_graph({}), order_of(8, 4), one_step(1));
  std::vector<Outgoing> out = dispatcher.advance({}, 0);

  try {
    dispatcher.advance(list(answer(out[0], {"packed_input_ids"})), 0);
    FAIL() << "no error";
  } catch (const CallError& error) {
    EXPECT_NE(std::string(error.what()).find("actor_gen"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("packed_prompts"), std::string::npos);
  }
}

TEST(Dispatcher, RefusesAWorkerThatDoesNotExist) {
  EXPECT_THROW(Dispatcher(grpo_graph({.train = "d1t1p1@3"}), order_of(8, 4), one_step(2)),
               ConfigError);
}

TEST(Dispatcher, SplitsAFlushThatWouldHoldTooManyReplicas) {
  DispatcherOptions options = one_step(1);
  graph::Call first, second;
  first.name = "first";
  first.role = "one";
  second.name = "second";
  second.role = "two";
  for (graph::Call* call : {&first, &second}) {
    call->inputs = {{"prompts", "packed_prompts"}};
    call->outputs = {{"out", call->name + "_out"}};
    call->layout = graph::Layout::parse("d1t1p1@0");
    call->n_seqs = 4;
  }
  const graph::Graph graph({first, second});
  options.residency.offload_when_idle = {"one", "two"};
  options.memory = {.shard_bytes = {{{"one", 0}, 60}, {{"two", 0}, 60}}, .worker_bytes = 100};
  options.stop.total_steps = 2;
  Dispatcher dispatcher(graph, order_of(8, 4), options);
  const auto load_and_run = [&](std::vector<Outgoing> out) {
    return dispatcher.advance(list(answer(out[0], {"packed_prompts"})), 0);
  };
  std::vector<Outgoing> out = load_and_run(dispatcher.advance({}, 0));
  std::vector<comm::Reply> replies;
  for (const Outgoing& o : out) {
    if (o.worker == kEveryWorker) continue;
    const std::string name = o.request.call == 0 ? "first_out" : "second_out";
    replies.push_back(answer(o, {name}));
  }

  // By the second step both are on the host, and they may not come back together.
  out = load_and_run(dispatcher.advance(std::move(replies), 0));

  EXPECT_EQ(sent(out), (Texts{"0:inference", "*:flush", "0:inference", "*:flush"}));
}

}  // namespace
}  // namespace orrery::master
