// The dispatcher's work inside a step: loading samples and dispatching calls.
#include <algorithm>
#include <iterator>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/master/call_plan.h"
#include "orrery/master/dispatcher.h"

namespace orrery::master {

namespace {

/// Sample i goes to data rank i mod n: where generation will want it.
std::vector<std::vector<data::RowRef>> dealt(const std::vector<data::RowRef>& rows, int n) {
  std::vector<std::vector<data::RowRef>> hands(base::index(n));
  for (size_t i = 0; i < rows.size(); ++i) hands[i % base::index(n)].push_back(rows[i]);
  return hands;
}

}  // namespace

void Dispatcher::load_samples() {
  const std::vector<data::RowRef> rows =
      upcoming_.empty() ? order_.next(samples_per_step_) : std::exchange(upcoming_, {});
  order_before_upcoming_ = order_.state();
  upcoming_ = order_.next(samples_per_step_);
  load_rows(rows, upcoming_);
}

void Dispatcher::load_rows(const std::vector<data::RowRef>& rows,
                           const std::vector<data::RowRef>& next) {
  const CallFacts& source = calls_[base::index(source_)];
  std::vector<std::vector<data::RowRef>> now = dealt(rows, source.data_size());
  std::vector<std::vector<data::RowRef>> soon = dealt(next, source.data_size());
  Run run{.kind = RunKind::kLoad, .call = source_, .heads_missing = source.data_size()};
  run.replies.resize(base::index(source.data_size()));
  for (const std::vector<data::RowRef>& hand : now) {
    std::vector<data::SampleId>& ids = run.ids.emplace_back();
    for (const data::RowRef& row : hand) ids.push_back(row.id);
  }
  run.prompts = rows;
  const int number = open_run(std::move(run));
  for (int data = 0; data < source.data_size(); ++data) {
    Outgoing outgoing{.worker = source.head_worker(data), .request = {}};
    outgoing.request.call = source_;
    outgoing.request.kind = comm::RequestKind::kLoad;
    outgoing.request.step = step_info();
    outgoing.request.rows = std::move(now[base::index(data)]);
    outgoing.request.prefetch = std::move(soon[base::index(data)]);
    send(std::move(outgoing), number, source.head_ranks[base::index(data)]);
  }
}

int64_t Dispatcher::step_size(int call) const {
  if (!refill_) return samples_per_step_;
  return refill_->is_judging(call) ? refill_->n_loaded() : refill_->batch_size();
}

int64_t Dispatcher::batch_size(int call) const {
  const int64_t n_seqs = calls_[base::index(call)].n_seqs;
  if (!refill_ || refill_->is_judging(call)) return n_seqs;
  return std::min(n_seqs, step_size(call) - progress_[base::index(call)].dispatched);
}

bool Dispatcher::may_run(int call) {
  const CallProgress& progress = progress_[base::index(call)];
  if (progress.dispatched >= step_size(call)) return false;
  const bool waits = refill_ && !refill_->is_judging(call);
  if (waits && !refill_->is_full()) return false;
  for (const int other : runs_after_[base::index(call)]) {
    if (progress_[base::index(other)].dispatched < step_size(other)) return false;
  }
  // The batch must be the next samples of the step and not just any that happen to be ready first.
  const int64_t n = batch_size(call);
  const std::optional<int64_t> youngest = buffer_.youngest_of_next(call, n);
  const int64_t last = progress.dispatched + n - 1;
  return youngest ==
         (waits ? refill_->filled().accepted[base::index(last)] : first_birth_of_step_ + last);
}

void Dispatcher::dispatch_ready_calls() {
  bool any = true;
  while (any) {  // dispatching one call may be what another waited for
    any = false;
    for (int call = 0; call < graph_.size(); ++call) {
      while (may_run(call)) {
        if (replicas_.must_flush_before(call)) append_flush();
        dispatch_call(call);
        any = true;
      }
    }
  }
}

void Dispatcher::dispatch_call(int call) {
  const CallFacts& facts = calls_[base::index(call)];
  CallProgress& progress = progress_[base::index(call)];
  const int64_t n = batch_size(call);
  const SequenceBuffer::Taken taken = buffer_.take(call, n);
  freed_rows_.insert(freed_rows_.end(), taken.freed.begin(), taken.freed.end());
  progress.dispatched += n;
  ++progress.report.runs;

  const SampleState samples{.metadata = &metadata_,
                            .tracker = &tracker_,
                            .id_of_row = id_of_row_,
                            .node_of_worker = options_.node_of_worker,
                            .keys = &keys_};
  CallPlan plan = plan_call(facts, taken.rows, options_.redistribution,
                            options_.costs.at(base::index(call)), samples);
  progress.report.flops += plan.flops;
  progress.report.bytes_redistributed += plan.redistribution.bytes;
  plan.payload.step = step_info();
  plan.payload.hooks = replicas_.dispatch(call);

  Run run{.kind = RunKind::kCall, .call = call, .heads_missing = facts.data_size()};
  run.replies.resize(base::index(facts.data_size()));
  for (const data::BatchMetadata& batch : plan.payload.batches) run.ids.push_back(batch.ids);
  run.rows = std::move(plan.rows);
  if (refill_ && call == refill_->reward_call()) plan.payload.report = refill_->options().rewards;
  CallRequests requests = build_requests(std::move(plan.payload), options_.n_workers);
  const int number = open_run(std::move(run));
  for (size_t i = 0; i < requests.requests.size(); ++i) {
    const int rank = static_cast<int>(i) < requests.n_main ? static_cast<int>(i) : -1;
    send(std::move(requests.requests[i]), number, rank);
  }
}

void Dispatcher::throw_if_stuck() const {
  for (int call = 0; call < graph_.size(); ++call) {
    if (progress_[base::index(call)].dispatched >= step_size(call)) continue;
    std::vector<std::string> lacking;
    for (const int key : calls_[base::index(call)].input_keys) {
      for (int row = 0; row < buffer_.capacity(); ++row) {
        if (!buffer_.is_used(row) || buffer_.has_key(row, key)) continue;
        lacking.push_back(keys_.name(key));
        break;
      }
    }
    throw CallError(
        base::concat("call ", calls_[base::index(call)].name, " of step ", steps_done_ + 1,
                     " can never run"),
        {.expected = base::concat(base::counted(calls_[base::index(call)].n_seqs, "sample"),
                                  " with all keys that it reads"),
         .got = lacking.empty() ? std::string("no further sample")
                                : base::concat("samples without ", base::join(lacking, ", ")),
         .advice = "no dataset and no call wrote them, see `orrery plan`"});
  }
}

}  // namespace orrery::master
