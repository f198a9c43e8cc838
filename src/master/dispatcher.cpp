#include "orrery/master/dispatcher.h"

#include <algorithm>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::master {

namespace {

std::vector<CallFacts> all_facts(const graph::Graph& graph, KeyTable& keys) {
  std::vector<CallFacts> facts;
  for (int call = 0; call < graph.size(); ++call) facts.push_back(facts_of(graph, call, keys));
  return facts;
}

std::vector<SequenceBuffer::Reader> readers_of(const std::vector<CallFacts>& calls,
                                               const std::optional<Refill>& refill,
                                               int accepted_key) {
  std::vector<SequenceBuffer::Reader> readers;
  for (const CallFacts& call : calls) {
    readers.push_back({call.input_keys, call.n_seqs});
    const bool waits = refill && !refill->is_judging(call.index);
    if (waits) readers.back().keys.push_back(accepted_key);
  }
  return readers;
}

std::optional<Refill> refill_of(const graph::Graph& graph,
                                const std::optional<RefillOptions>& options) {
  if (!options) return std::nullopt;
  return Refill(graph, *options);
}

/// Roles whose parameters a run of the call changes.
std::vector<std::string> changed_roles(const graph::Call& call) {
  std::vector<std::string> roles;
  if (call.kind == graph::CallKind::kTrainStep) roles.push_back(call.role);
  if (!call.post_realloc.empty()) roles.push_back(call.post_realloc);
  return roles;
}

/// For each call, those that must be dispatched for the whole step before it: all that read
/// parameters which it changes, so that what they read does not depend on when replies arrive.
/// Train_steps, and calls that need its outputs, cannot come before it.
std::vector<std::vector<int>> calls_before(const graph::Graph& graph) {
  std::vector<std::vector<int>> before(base::index(graph.size()));
  for (int call = 0; call < graph.size(); ++call) {
    const std::vector<std::string> roles = changed_roles(graph.call(call));
    const std::vector<int> later = graph.all_successors(call);
    for (int other = 0; other < graph.size(); ++other) {
      const graph::Call& reader = graph.call(other);
      const bool reads = std::find(roles.begin(), roles.end(), reader.role) != roles.end();
      const bool can_be_first = other != call && reader.kind != graph::CallKind::kTrainStep &&
                                std::find(later.begin(), later.end(), other) == later.end();
      if (reads && can_be_first) before[base::index(call)].push_back(other);
    }
  }
  return before;
}

/// Room for the samples of a step: they leave before the next one begins. Where groups are drawn
/// again until a step is full, also for a round beside one group less than that.
int capacity_for(const graph::Graph& graph, const std::optional<RefillOptions>& refill) {
  return static_cast<int>(graph.samples_per_step() + (refill ? refill->rule.groups_per_round : 0));
}

/// No key of a graph has a blank in its name.
constexpr const char* kAcceptedKey = "accepted group";

}  // namespace

Dispatcher::Dispatcher(graph::Graph graph, data::DataOrder order, DispatcherOptions options)
    : graph_(std::move(graph)),
      order_(std::move(order)),
      options_(std::move(options)),
      calls_(all_facts(graph_, keys_)),
      runs_after_(calls_before(graph_)),
      samples_per_step_(graph_.samples_per_step()),
      refill_(refill_of(graph_, options_.refill)),
      accepted_key_(refill_ ? keys_.intern(kAcceptedKey) : -1),
      buffer_(capacity_for(graph_, options_.refill), keys_.size(),
              readers_of(calls_, refill_, accepted_key_)),
      metadata_(capacity_for(graph_, options_.refill)),
      tracker_(options_.n_workers, capacity_for(graph_, options_.refill)),
      replicas_(graph_, options_.residency, options_.memory),
      evaluate_control_(options_.evaluate.frequency),
      export_control_(options_.export_models.frequency),
      checkpoint_control_(options_.checkpoint.frequency),
      best_(options_.evaluate.best_metric, options_.evaluate.best_metric_falls),
      progress_(base::index(graph_.size())),
      id_of_row_(base::index(capacity_for(graph_, options_.refill))),
      clear_(base::index(options_.n_workers)) {
  if (graph_.size() == 0) {
    throw ConfigError(
        "dispatcher: the graph has no call",
        {.expected = "a [call.*] section that is enabled", .got = "none", .advice = {}});
  }
  for (const CallFacts& call : calls_) {
    for (const int worker : call.workers) {
      if (worker >= 0 && worker < options_.n_workers) continue;
      throw ConfigError(base::concat("call.", call.name, ".layout: no such worker"),
                        {.expected = base::concat("workers 0 to ", options_.n_workers - 1),
                         .got = base::concat("worker ", worker),
                         .advice = "start more ranks or use a smaller layout"});
    }
  }
  source_ = graph_.sources().front();
  if (options_.node_of_worker.empty())
    options_.node_of_worker.resize(base::index(options_.n_workers));
  if (options_.costs.empty()) options_.costs.resize(base::index(graph_.size()));
}

void Dispatcher::restore(const MasterState& state) {
  steps_done_ = state.steps_done;
  seconds_before_ = state.seconds;
  target_reached_ = state.target_reached;
  evaluate_control_.restore(state.evaluate);
  export_control_.restore(state.export_models);
  checkpoint_control_.restore(state.checkpoint);
  best_.restore(state.best);
  replicas_.restore(state.role_versions);
  order_.restore(state.order);
  evaluated_at_ = state.evaluated_at;
  exported_at_ = state.exported_at;
  checkpointed_at_ = steps_done_;
  if (!refill_ || !state.refill) return;
  refill_->restore(*state.refill, order_);
  carried_to_load_ = state.refill->carried;
}

MasterState Dispatcher::state() const {
  return {.steps_done = steps_done_,
          .seconds = seconds_before_ + now_,
          .target_reached = target_reached_,
          .evaluated_at = evaluated_at_,
          .exported_at = exported_at_,
          .evaluate = evaluate_control_.state(),
          .export_models = export_control_.state(),
          .checkpoint = checkpoint_control_.state(),
          .best = best_.state(),
          .role_versions = replicas_.role_versions(),
          .order = upcoming_.empty() ? order_.state() : order_before_upcoming_,
          .refill = refill_ ? std::optional(refill_state()) : std::nullopt};
}

std::vector<Outgoing> Dispatcher::advance(std::vector<comm::Reply> replies, double now) {
  now_ = now;
  for (comm::Reply& reply : replies) apply(std::move(reply));
  if (!failures_.empty()) return {};
  proceed();
  append_flush();
  n_flushed_ = 0;
  return std::exchange(out_, {});
}

void Dispatcher::proceed() {
  while (true) {
    const Phase before = phase_;
    const bool begins = !std::exchange(phase_begun_, true);
    switch (phase_) {
      case Phase::kStart:
        if (begins && options_.evaluate.at_start && steps_done_ == 0) evaluate_now();
        if (begins && !carried_to_load_.empty()) load_carried();
        if (n_outstanding_ == 0 && !settle_best()) phase_ = Phase::kBetweenSteps;
        break;
      case Phase::kBetweenSteps:
        stop_reason_ = why_stop();
        if (stop_reason_) {
          phase_ = Phase::kEnding;
        } else {
          // Now, when evaluation and export of the step are done: its state says so.
          if (std::exchange(checkpoint_due_, false)) checkpoint_now();
          begin_step();
          phase_ = Phase::kStep;
        }
        break;
      case Phase::kStep:
        if (refill_) refill();
        dispatch_ready_calls();
        if (is_step_complete()) {
          end_step();
          phase_ = Phase::kAfterStep;
        } else if (n_outstanding_ == 0) {
          throw_if_stuck();
        }
        break;
      case Phase::kAfterStep:
        if (n_outstanding_ == 0 && !settle_best()) phase_ = Phase::kBetweenSteps;
        break;
      case Phase::kEnding:
        if (begins) begin_ending();
        // What is kept, and what a checkpoint says of it, follows from the last evaluation.
        if (n_outstanding_ > 0 || settle_best()) break;
        if (!std::exchange(is_saved_at_end_, true)) save_at_end();
        if (n_outstanding_ > 0) break;
        reports_.emplace_back(FinishReport{.reason = *stop_reason_, .steps_done = steps_done_});
        out_.push_back({.worker = kEveryWorker, .request = {}});
        out_.back().request.kind = comm::RequestKind::kExit;
        n_flushed_ = out_.size();
        phase_ = Phase::kFinished;
        break;
      case Phase::kFinished:
        break;
    }
    if (phase_ == before) return;
    phase_begun_ = false;
  }
}

std::optional<StopReason> Dispatcher::why_stop() const {
  const RunProgress progress{
      .steps_done = steps_done_,
      .seconds = seconds_before_ + now_,
      .stop_requested = stop_requested_,
      .target_reached = target_reached_,
      .has_stalled = options_.evaluate.stop_after > 0 &&
                     best_.state().n_without_rise >= options_.evaluate.stop_after};
  if (!refill_) {
    return reason_to_stop(options_.stop, progress, samples_per_step_, order_.samples_per_epoch());
  }
  // Steps draw as much as they need: epochs are counted by what was drawn.
  StopConditions others = options_.stop;
  const int64_t epochs = std::exchange(others.total_epochs, 0);
  const auto reason =
      reason_to_stop(others, progress, samples_per_step_, order_.samples_per_epoch());
  const bool has_drawn_all =
      epochs > 0 && refill_->samples_drawn() >= epochs * order_.samples_per_epoch();
  return !reason && has_drawn_all ? std::optional(StopReason::kEpochs) : reason;
}

comm::StepInfo Dispatcher::step_info() const {
  if (refill_) {
    return {.step = steps_done_ + 1,
            .epoch = refill_->epoch(),
            .epoch_step = steps_done_ - refill_->first_step_of_epoch() + 1};
  }
  const StepNumbers numbers =
      step_numbers(steps_done_, samples_per_step_, order_.samples_per_epoch());
  return {.step = numbers.step + 1, .epoch = numbers.epoch, .epoch_step = numbers.epoch_step + 1};
}

void Dispatcher::begin_step() {
  step_began_at_ = now_;
  first_birth_of_step_ = next_birth_;
  for (int call = 0; call < graph_.size(); ++call) {
    progress_[base::index(call)] = {};
    progress_[base::index(call)].report.call = calls_[base::index(call)].name;
  }
  replicas_.begin_step();
  if (refill_) {
    refill_->begin_step(steps_done_, order_);
  } else {
    load_samples();
  }
}

bool Dispatcher::is_step_complete() const {
  if (n_outstanding_ > 0 || (refill_ && !refill_->is_full())) return false;
  for (int call = 0; call < graph_.size(); ++call) {
    if (progress_[base::index(call)].finished != step_size(call)) return false;
  }
  return true;
}

void Dispatcher::end_step() {
  forget(freed_rows_);
  freed_rows_.clear();

  StepReport report;
  report.step = step_info();
  report.seconds = now_ - step_began_at_;
  report.samples = refill_ ? refill_->batch_size() : samples_per_step_;
  for (CallProgress& progress : progress_) {
    progress.report.times = progress.times.summary();
    report.calls.push_back(std::move(progress.report));
  }
  bool ends_epoch =
      step_numbers(steps_done_, samples_per_step_, order_.samples_per_epoch()).ends_epoch;
  if (refill_) {
    report.sampled = refill_->filled();
    refill_->end_step();
    ends_epoch = refill_->samples_drawn() / order_.samples_per_epoch() > refill_->epoch();
  }
  reports_.emplace_back(std::move(report));

  ++steps_done_;
  const Passed passed{
      .steps = 1, .epochs = ends_epoch ? 1 : 0, .seconds = now_ - std::exchange(checked_at_, now_)};
  if (evaluate_control_.check(passed)) evaluate_now();
  if (export_control_.check(passed)) export_now();
  if (checkpoint_control_.check(passed)) checkpoint_due_ = true;
}

void Dispatcher::begin_ending() {
  // A run that is to go on later is not at its end: what belongs there is done then.
  const bool is_pause = *stop_reason_ == StopReason::kStopRequested;
  if (options_.evaluate.at_end && !is_pause) evaluate_now();
  if (!best_.is_kept()) save_at_end();
}

void Dispatcher::save_at_end() {
  is_saved_at_end_ = true;
  const bool is_pause = *stop_reason_ == StopReason::kStopRequested;
  if (options_.export_models.at_end && !is_pause) export_now();
  if (checkpoint_due_ || options_.checkpoint.at_end || is_pause) checkpoint_now();
  await_checkpoint();
}

/// Only those who hold something are told to forget it, with the next request they get.
void Dispatcher::forget(const std::vector<int>& rows) {
  const std::vector<std::vector<int>> rows_of_worker = tracker_.slots_by_worker(rows);
  for (size_t worker = 0; worker < rows_of_worker.size(); ++worker) {
    for (const int row : rows_of_worker[worker])
      clear_[worker].push_back({id_of_row_[base::index(row)]});
  }
  tracker_.clear(rows);
  metadata_.forget(rows);
}

int Dispatcher::open_run(Run run) {
  run.sent_at = now_;
  run.step = steps_done_;
  runs_.emplace(next_run_, std::move(run));
  return next_run_++;
}

void Dispatcher::send(Outgoing outgoing, int run, int rank) {
  comm::Request& request = outgoing.request;
  request.id = first_id_ + outstanding_.size();
  std::vector<data::SampleId>& clear = clear_[base::index(outgoing.worker)];
  if (!clear.empty()) request.clear = std::exchange(clear, {});
  outstanding_.push_back(
      {.run = run, .worker = outgoing.worker, .rank = rank, .kind = request.kind, .since = now_});
  ++runs_.at(run).replies_missing;
  ++n_outstanding_;
  out_.push_back(std::move(outgoing));
}

void Dispatcher::append_flush() {
  if (out_.size() == n_flushed_) return;
  out_.push_back({.worker = kEveryWorker, .request = {}});
  out_.back().request.kind = comm::RequestKind::kFlush;
  n_flushed_ = out_.size();
  replicas_.begin_flush();
}

std::string Dispatcher::call_name(int call) const {
  return call < 0 ? std::string("none") : calls_[base::index(call)].name;
}

std::vector<Report> Dispatcher::take_reports() { return std::exchange(reports_, {}); }

std::vector<Waiting> Dispatcher::all_waiting() const {
  std::vector<Waiting> waiting;
  for (const Outstanding& request : outstanding_) {
    if (request.answered) continue;
    waiting.push_back({.worker = request.worker,
                       .call = call_name(runs_.at(request.run).call),
                       .kind = request.kind,
                       .since = request.since});
  }
  return waiting;
}

}  // namespace orrery::master
