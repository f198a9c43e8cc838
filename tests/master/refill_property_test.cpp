// Dynamic sampling over whole runs with random pass rates, kills and orders of replies: no prompt
// is trained on twice or lost, and a run that was killed ends as one that was not.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "calls_for_test.h"
#include "orrery/base/error.h"
#include "orrery/master/dispatcher.h"
#include "random_for_test.h"

namespace orrery::master {
namespace {

/// One trial, drawn once and the same with and without kills.
struct Trial {
  GrpoLayouts layouts;
  RefillOptions options;
  int64_t n_rows = 0;
  int64_t steps = 0;
  uint64_t seed = 0;
  bool may_be_killed = false;
  std::vector<int> pass_percent;  ///< by row
};

using Held = std::map<std::pair<uint64_t, std::string>, int64_t>;  // (sample, key) -> content

/// Workers that do at once what they are asked, and a disk that outlives them.
class FakeWorkers {
 public:
  FakeWorkers(const Trial& trial, std::map<int64_t, Held>& disk)
      : trial_(trial), disk_(disk), stores_(2) {}

  std::vector<comm::Reply> work(const std::vector<Outgoing>& outgoing) {
    std::vector<comm::Reply> replies;
    for (const Outgoing& out : outgoing) {
      if (out.worker == kEveryWorker) continue;
      for (const data::SampleId id : out.request.clear) {
        std::erase_if(stores_[index(out)],
                      [id](const auto& entry) { return entry.first.first == id.value; });
      }
    }
    for (const Outgoing& out : outgoing) {
      for (const comm::Hook& hook : out.request.pre_hooks) run_hook(out, hook);
    }
    for (const Outgoing& out : outgoing) {
      if (out.worker != kEveryWorker) replies.push_back(run(out));
    }
    return replies;
  }

  /// By step: samples in the order of the ids, with what their answers are.
  std::map<int64_t, std::map<uint64_t, int64_t>> trained;
  std::vector<data::RowRef> loaded;
  int64_t restored_from = 0;  ///< step of the checkpoint

 private:
  static size_t index(const Outgoing& out) { return static_cast<size_t>(out.worker); }

  void run_hook(const Outgoing& out, const comm::Hook& hook) {
    Held& own = stores_[index(out)];
    if (const auto* transfer = std::get_if<comm::DataTransferHook>(&hook)) {
      for (const comm::Transfer& each : transfer->transfers) {
        if (each.source != out.worker) continue;
        for (const int to : each.destinations) {
          copy(each.batch, own, stores_[static_cast<size_t>(to)]);
        }
      }
    }
    if (const auto* keep = std::get_if<comm::KeepSamplesHook>(&hook)) {
      for (const data::BatchMetadata& batch : keep->batches) {
        copy(batch, own, disk_[out.request.step.step]);
      }
    }
  }

  static void copy(const data::BatchMetadata& batch, const Held& from, Held& to) {
    for (const data::SampleId id : batch.ids) {
      for (const data::KeyMetadata& key : batch.keys) {
        ASSERT_TRUE(from.contains({id.value, key.key})) << id.value << " " << key.key;
        to[{id.value, key.key}] = from.at({id.value, key.key});
      }
    }
  }

  comm::Reply run(const Outgoing& out) {
    const comm::Request& request = out.request;
    comm::Reply reply;
    reply.worker = out.worker;
    reply.request = request.id;
    reply.call = request.call;
    Held& own = stores_[index(out)];
    switch (request.kind) {
      case comm::RequestKind::kLoad:
        copy(request.batch, disk_[restored_from], own);
        reply.output = request.batch;
        for (const data::RowRef& row : request.rows) {
          loaded.push_back(row);
          row_of_[row.id.value] = row.row;
          reply.output.ids.push_back(row.id);
        }
        if (!request.rows.empty()) write(own, reply, "packed_prompts", 1);
        break;
      case comm::RequestKind::kGenerate:
        check_inputs(own, request);
        reply.output.ids = request.batch.ids;
        write(own, reply, "packed_input_ids", request.step.step);
        break;
      case comm::RequestKind::kInference:
        check_inputs(own, request);
        EXPECT_EQ(request.body, "rewards");
        reply.output.ids = request.batch.ids;
        write(own, reply, "rewards", 1);
        for (const data::SampleId id : request.batch.ids) {
          reply.output.extra[comm::kReportedValues].push_back(rewards_of(id));
        }
        break;
      case comm::RequestKind::kTrainStep:
        check_inputs(own, request);
        for (const data::SampleId id : request.batch.ids) {
          EXPECT_FALSE(trained[request.step.step].contains(id.value)) << "twice in a step";
          trained[request.step.step][id.value] = own.at({id.value, "packed_input_ids"});
        }
        break;
      case comm::RequestKind::kSave:
        reply.saved = {{.step = request.step.step, .file = "f", .size = 1, .hash = 1}};
        break;
      default:
        break;
    }
    return reply;
  }

  static void check_inputs(const Held& own, const comm::Request& request) {
    for (const data::SampleId id : request.batch.ids) {
      for (const data::KeyMetadata& key : request.batch.keys) {
        EXPECT_TRUE(own.contains({id.value, key.key})) << id.value << " lacks " << key.key;
      }
    }
  }

  static void write(Held& own, comm::Reply& reply, const std::string& key, int64_t content) {
    data::KeyMetadata made{.key = key, .trailing_shape = {}, .lengths = {}};
    for (const data::SampleId id : reply.output.ids) {
      own[{id.value, key}] = content;
      made.lengths.add_sample(static_cast<int32_t>(1 + id.value % 3));
    }
    reply.output.keys.push_back(made);
  }

  /// Four answers; now and then one has no reward.
  std::string rewards_of(data::SampleId id) const {
    Random random(static_cast<int>(trial_.seed % 1000 + id.value * 1000));
    std::string text = "[";
    for (int i = 0; i < 4; ++i) {
      const int percent =
          trial_.pass_percent[static_cast<size_t>(id.value) % trial_.pass_percent.size()];
      if (i > 0) text += ",";
      text += random.chance(5) ? "null" : random.chance(percent) ? "1.0" : "0.0";
    }
    return text + "]";
  }

  const Trial& trial_;
  std::map<int64_t, Held>& disk_;
  std::vector<Held> stores_;
  std::map<uint64_t, int64_t> row_of_;
};

/// What a run came to.
struct Outcome {
  std::map<int64_t, std::map<uint64_t, int64_t>> trained;
  std::map<int64_t, SampledStep> steps;
  std::vector<data::RowRef> loaded;
  std::optional<MasterState> last;  ///< of the last checkpoint
  std::string error;
};

Trial random_trial(int number) {
  Random random(number);
  Trial trial;
  const bool is_parallel = random.chance(50);
  trial.layouts.n_seqs = 4;
  if (is_parallel) trial.layouts.generate = "d2t1p1@0-1";
  if (random.chance(30)) trial.layouts.train = "d1t1p1@1";
  trial.n_rows = random.between(16, 60);
  trial.steps = random.between(3, 12);
  trial.seed = static_cast<uint64_t>(number);
  const int base = random.between(0, 100);
  for (int64_t i = 0; i < 97; ++i) {
    trial.pass_percent.push_back(std::clamp(base + random.between(-40, 40), 0, 100));
  }
  RefillOptions& options = trial.options;
  options.rule.batch_groups = 4;
  options.rule.groups_per_round = 4 * random.between(1, 3);
  options.rule.max_rounds = random.between(0, 4);
  options.rule.on_limit = random.chance(70) ? OnLimit::kUsePartial : OnLimit::kRefuse;
  options.rule.surplus = random.chance(80) ? Surplus::kCarryOver : Surplus::kDiscard;
  if (random.chance(30)) {
    options.filter = {.after_answers = 2, .min_pass_rate = 0.2, .easy_first_steps = 4};
  }
  return trial;
}

/// Runs until it is killed, and goes on from its last checkpoint, until it is at its end.
Outcome run(const Trial& trial, Random& random) {
  const graph::Graph graph = grpo_graph(trial.layouts);
  DispatcherOptions options;
  options.n_workers = 2;
  options.refill = trial.options;
  options.stop.total_steps = trial.steps;
  options.checkpoint = {.frequency = {.every_steps = 1}, .at_end = true, .directory = "c"};
  Outcome outcome;
  std::map<int64_t, Held> disk;
  bool is_finished = false;
  while (!is_finished) {
    const int turns = trial.may_be_killed ? random.between(5, 80) : 1 << 20;
    Dispatcher dispatcher(graph, order_of(trial.n_rows, trial.options.rule.groups_per_round),
                          options);
    FakeWorkers workers(trial, disk);
    if (outcome.last) {
      dispatcher.restore(*outcome.last);
      workers.restored_from = outcome.last->steps_done;
    }
    std::vector<comm::Reply> waiting;
    for (int turn = 0; turn < turns && !is_finished; ++turn) {
      std::vector<comm::Reply> arrived;
      random.shuffle(waiting);
      while (!waiting.empty() && (arrived.empty() || random.chance(60))) {
        arrived.push_back(std::move(waiting.back()));
        waiting.pop_back();
      }
      try {
        for (comm::Reply& reply : workers.work(dispatcher.advance(std::move(arrived), turn))) {
          waiting.push_back(std::move(reply));
        }
      } catch (const CallError& error) {
        outcome.error = error.what();
        is_finished = true;
      }
      for (const Report& report : dispatcher.take_reports()) {
        if (const auto* save = std::get_if<SaveReport>(&report)) outcome.last = save->state;
        if (const auto* step = std::get_if<StepReport>(&report)) {
          outcome.steps[step->step.step] = *step->sampled;
        }
      }
      is_finished = is_finished || dispatcher.is_finished();
    }
    for (auto& [step, samples] : workers.trained) outcome.trained[step] = samples;
    outcome.loaded = workers.loaded;
  }
  return outcome;
}

/// Group b of a run that was never killed is the b-th one that was loaded.
void expect_each_once(const Trial& trial, Outcome whole) {
  std::sort(whole.loaded.begin(), whole.loaded.end(),
            [](const data::RowRef& a, const data::RowRef& b) { return a.id < b.id; });
  std::multiset<uint64_t> used;
  const auto use = [&](const std::vector<int64_t>& births) {
    for (const int64_t birth : births) {
      used.insert(whole.loaded.at(static_cast<size_t>(birth)).id.value);
    }
  };
  std::vector<int64_t> carried;
  for (const auto& [step, sampled] : whole.steps) {
    use(sampled.accepted);
    use(sampled.rejected);
    use(sampled.discarded);
    carried = sampled.carried_over;
    EXPECT_EQ(whole.trained[step].size(), sampled.accepted.size());
    EXPECT_EQ(sampled.carried_in + sampled.generated_groups,
              std::ssize(sampled.accepted) + std::ssize(sampled.rejected) +
                  std::ssize(sampled.carried_over) + std::ssize(sampled.discarded));
  }
  use(carried);
  std::multiset<uint64_t> all;
  std::set<std::pair<int64_t, int64_t>> prompts;
  for (const data::RowRef& row : whole.loaded) {
    all.insert(row.id.value);
    EXPECT_TRUE(prompts.insert({row.epoch, row.row}).second) << "a prompt twice in an epoch";
  }
  if (whole.error.empty()) {
    EXPECT_EQ(used, all) << "a prompt was lost or used twice";
  }
  if (trial.options.filter.is_on() || !whole.error.empty() || whole.loaded.empty()) return;
  for (int64_t epoch = 0; epoch < whole.loaded.back().epoch; ++epoch) {
    const auto n = std::count_if(whole.loaded.begin(), whole.loaded.end(),
                                 [&](const data::RowRef& row) { return row.epoch == epoch; });
    EXPECT_EQ(n, trial.n_rows) << "a prompt of epoch " << epoch << " was never drawn";
  }
}

TEST(RefillProperty, NoPromptIsLostOrUsedTwiceAndAKilledRunEndsAsOneThatWasNot) {
  int n_carried = 0, n_partial = 0, n_refused = 0;
  for (int number = 0; number < 1000; ++number) {
    SCOPED_TRACE("trial " + std::to_string(number));
    Trial trial = random_trial(number);
    Random order(number + 100000), kills(number + 200000);
    const Outcome whole = run(trial, order);
    expect_each_once(trial, whole);

    trial.may_be_killed = true;
    const Outcome killed = run(trial, kills);

    ASSERT_EQ(killed.trained, whole.trained);
    ASSERT_EQ(killed.error, whole.error);
    if (whole.last && whole.error.empty()) {  // an error may come before the last save
      ASSERT_EQ(killed.last->order, whole.last->order);
      ASSERT_EQ(killed.last->refill->prompts, whole.last->refill->prompts);
    }
    for (const auto& [step, sampled] : whole.steps) {
      n_carried += sampled.carried_over.empty() ? 0 : 1;
      n_partial += sampled.is_complete ? 0 : 1;
    }
    n_refused += whole.error.empty() ? 0 : 1;
  }
  EXPECT_GT(n_carried, 300);
  EXPECT_GT(n_partial, 100);
  EXPECT_GT(n_refused, 30);
}

}  // namespace
}  // namespace orrery::master
