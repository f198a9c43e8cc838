// The dispatcher's work between steps: evaluation, export and checkpoints. Each is a request of its
// own after all calls of the step are done, never a hook of a train_step: it is the same mechanism
// before the first step, between steps and after the last, and costs a step nothing in between.
#include <utility>

#include "orrery/master/dispatcher.h"

namespace orrery::master {

namespace {

size_t at(int index) { return static_cast<size_t>(index); }

}  // namespace

bool Dispatcher::evaluate_now() {
  if (options_.evaluate.calls.empty() || evaluated_at_ == steps_done_) return false;
  evaluated_at_ = steps_done_;
  for (const int call : options_.evaluate.calls) {
    const CallFacts& facts = calls_.at(at(call));
    Run run{.kind = RunKind::kEvaluate, .call = call, .heads_missing = facts.data_size()};
    run.replies.resize(at(facts.data_size()));
    const int number = open_run(std::move(run));
    for (size_t rank = 0; rank < facts.workers.size(); ++rank) {
      Outgoing outgoing{.worker = facts.workers[rank], .request = {}};
      outgoing.request.call = call;
      outgoing.request.handle = comm::Handle::kEvaluate;
      outgoing.request.step.step = steps_done_;
      send(std::move(outgoing), number, static_cast<int>(rank));
    }
  }
  return true;
}

bool Dispatcher::export_now() {
  if (options_.export_models.directory.empty() || exported_at_ == steps_done_) return false;
  exported_at_ = steps_done_;
  bool any = false;
  for (const CallFacts& facts : calls_) {
    if (facts.kind != graph::CallKind::kTrainStep) continue;
    any = true;
    const std::string directory = options_.export_models.directory + "/" +
                                  step_directory(steps_done_) + "/" + graph_.call(facts.index).role;
    const int number =
        open_run({.kind = RunKind::kExport, .call = facts.index, .directory = directory});
    for (size_t rank = 0; rank < facts.workers.size(); ++rank) {
      Outgoing outgoing{.worker = facts.workers[rank], .request = {}};
      outgoing.request.call = facts.index;
      outgoing.request.handle = comm::Handle::kEmpty;
      outgoing.request.step.step = steps_done_;
      outgoing.request.post_hooks.emplace_back(
          comm::SaveHook{.step = steps_done_, .directory = directory});
      send(std::move(outgoing), number, static_cast<int>(rank));
    }
  }
  return any;
}

bool Dispatcher::checkpoint_now() {
  if (options_.checkpoint.directory.empty() || checkpointed_at_ == steps_done_) return false;
  checkpointed_at_ = steps_done_;
  const std::string directory = options_.checkpoint.directory + "/" + step_directory(steps_done_);
  const int number =
      open_run({.kind = RunKind::kCheckpoint, .directory = directory, .state = state()});
  for (int worker = 0; worker < options_.n_workers; ++worker) {
    Outgoing outgoing{.worker = worker, .request = {}};
    outgoing.request.handle = comm::Handle::kSave;
    outgoing.request.step.step = steps_done_;
    outgoing.request.body = directory;
    send(std::move(outgoing), number, -1);
  }
  return true;
}

}  // namespace orrery::master
