// The dispatcher's work between steps: evaluation, export and checkpoints. Each is a request of its
// own after all calls of the step are done, never a hook of a train_step: it is the same mechanism
// before the first step, between steps and after the last, and costs a step nothing in between.
#include <algorithm>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/master/dispatcher.h"

namespace orrery::master {

bool Dispatcher::evaluate_now() {
  if (options_.evaluate.sets.empty() || evaluated_at_ == steps_done_) return false;
  evaluated_at_ = steps_done_;
  best_to_settle_ = best_.is_kept();
  best_metric_.reset();
  for (size_t set = 0; set < options_.evaluate.sets.size(); ++set) {
    for (const int call : options_.evaluate.sets[set].calls) {
      const CallFacts& facts = calls_.at(base::index(call));
      Run run{.kind = RunKind::kEvaluate, .call = call, .heads_missing = facts.data_size()};
      run.set = static_cast<int>(set);
      run.replies.resize(base::index(facts.data_size()));
      const int number = open_run(std::move(run));
      for (size_t rank = 0; rank < facts.workers.size(); ++rank) {
        Outgoing outgoing{.worker = facts.workers[rank], .request = {}};
        outgoing.request.call = call;
        outgoing.request.kind = comm::RequestKind::kEvaluate;
        outgoing.request.step.step = steps_done_;
        outgoing.request.body = options_.evaluate.sets[set].name;
        send(std::move(outgoing), number, static_cast<int>(rank));
      }
    }
  }
  return true;
}

/// Judges an evaluation that has ended, and exports the model if it is the best one; nothing else
/// is under way. False: there is nothing to wait for.
bool Dispatcher::settle_best() {
  if (std::exchange(best_to_settle_, false) && best_.note(steps_done_, best_metric_)) {
    best_to_report_ = true;
    if (export_now()) return true;
  }
  if (std::exchange(best_to_report_, false)) report_best();
  return false;
}

void Dispatcher::report_best() {
  if (options_.export_models.directory.empty()) return;
  reports_.emplace_back(
      SaveReport{.kind = SaveKind::kBest,
                 .step = steps_done_,
                 .directory = options_.export_models.directory + "/" + base::step_name(steps_done_),
                 .replies = {},
                 .shards = {},
                 .state = state(),
                 .seconds = 0});
}

bool Dispatcher::export_now() {
  if (options_.export_models.directory.empty() || exported_at_ == steps_done_) return false;
  exported_at_ = steps_done_;
  bool any = false;
  for (const CallFacts& facts : calls_) {
    if (facts.kind != graph::CallKind::kTrainStep) continue;
    any = true;
    const std::string directory = options_.export_models.directory + "/" +
                                  base::step_name(steps_done_) + "/" +
                                  graph_.call(facts.index).role;
    const int number =
        open_run({.kind = RunKind::kExport, .call = facts.index, .directory = directory});
    for (size_t rank = 0; rank < facts.workers.size(); ++rank) {
      Outgoing outgoing{.worker = facts.workers[rank], .request = {}};
      outgoing.request.call = facts.index;
      outgoing.request.kind = comm::RequestKind::kExport;
      outgoing.request.step.step = steps_done_;
      outgoing.request.body = directory;
      send(std::move(outgoing), number, static_cast<int>(rank));
    }
  }
  return any;
}

bool Dispatcher::checkpoint_now() {
  if (options_.checkpoint.directory.empty() || checkpointed_at_ == steps_done_) return false;
  await_checkpoint();  // one at a time
  checkpointed_at_ = steps_done_;
  const std::string directory = options_.checkpoint.directory + "/" + base::step_name(steps_done_);
  savings_.push_back({.step = steps_done_,
                      .directory = directory,
                      .state = state(),
                      .began_at = now_,
                      .shards = std::vector<comm::SavedShard>(base::index(options_.n_workers)),
                      .n_missing = options_.n_workers});
  const int number = open_run({.kind = RunKind::kSave});
  std::vector<comm::KeepSamplesHook> carried(base::index(options_.n_workers));
  if (refill_) carried = carried_by_worker();
  for (int worker = 0; worker < options_.n_workers; ++worker) {
    Outgoing outgoing{.worker = worker, .request = {}};
    outgoing.request.kind = comm::RequestKind::kSave;
    if (!carried[base::index(worker)].batches.empty()) {
      outgoing.request.pre_hooks.emplace_back(std::move(carried[base::index(worker)]));
    }
    outgoing.request.step.step = steps_done_;
    outgoing.request.body = directory;
    send(std::move(outgoing), number, -1);
  }
  return true;
}

/// Asks those whose part of a checkpoint is still being written to answer when it is.
void Dispatcher::await_checkpoint() {
  for (const Saving& saving : savings_) {
    const int number = open_run({.kind = RunKind::kSaveEnd});
    for (int worker = 0; worker < options_.n_workers; ++worker) {
      if (!saving.shards[base::index(worker)].file.empty()) continue;
      Outgoing outgoing{.worker = worker, .request = {}};
      outgoing.request.kind = comm::RequestKind::kSaveEnd;
      outgoing.request.step.step = saving.step;
      send(std::move(outgoing), number, -1);
    }
  }
}

void Dispatcher::note_saved(int worker, const comm::SavedShard& shard) {
  const auto saving = std::find_if(savings_.begin(), savings_.end(),
                                   [&](const Saving& s) { return s.step == shard.step; });
  if (saving == savings_.end() || !saving->shards[base::index(worker)].file.empty()) {
    throw ProtocolError(base::concat("worker ", worker, " has written what nobody asked for"),
                        {.expected = "a part of the checkpoint that is being written",
                         .got = base::concat(shard.file, " of step ", shard.step),
                         .advice = {}});
  }
  saving->shards[base::index(worker)] = shard;
  if (--saving->n_missing > 0) return;
  reports_.emplace_back(SaveReport{.kind = SaveKind::kCheckpoint,
                                   .step = saving->step,
                                   .directory = std::move(saving->directory),
                                   .replies = {},
                                   .shards = std::move(saving->shards),
                                   .state = std::move(saving->state),
                                   .seconds = now_ - saving->began_at});
  savings_.erase(saving);
}

}  // namespace orrery::master
