// The dispatcher's reading of replies. They are filed by data rank, so the order in which they
// arrive changes nothing; only those of the data-parallel heads carry results.
#include <algorithm>
#include <iterator>
#include <utility>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/master/dispatcher.h"

namespace orrery::master {

namespace {

void check_ids(const std::string& what, int worker, const std::vector<data::SampleId>& wanted,
               const std::vector<data::SampleId>& got) {
  if (wanted == got) return;
  throw CallError(base::concat(what, ", worker ", worker, ": the reply is about other samples"),
                  {.expected = base::concat(base::counted(wanted.size(), "sample"),
                                            ", as asked for, in their order"),
                   .got = base::counted(got.size(), "sample"),
                   .advice = "an interface must keep the samples of its batch and their order"});
}

}  // namespace

void Dispatcher::apply(comm::Reply reply) {
  if (reply.request == comm::kUnasked && !reply.error.empty()) {
    failures_.push_back({.worker = reply.worker,
                         .call = {},
                         .request_kind = comm::RequestKind::kEmpty,
                         .error = std::move(reply.error),
                         .exit_code = reply.exit_code,
                         .kind = reply.error_kind});
    return;
  }
  const uint64_t place = reply.request - first_id_;
  if (reply.request < first_id_ || place >= outstanding_.size() || outstanding_[place].answered ||
      outstanding_[place].worker != reply.worker) {
    throw ProtocolError("reply to a request that nobody waits for",
                        {.expected = base::concat("an unanswered request of worker ", reply.worker),
                         .got = base::concat("request ", reply.request),
                         .advice = {}});
  }
  Outstanding& request = outstanding_[place];
  request.answered = true;
  --n_outstanding_;
  const int number = request.run;
  const int rank = request.rank;
  Run& run = runs_.at(number);
  if (!reply.error.empty()) {
    failures_.push_back({.worker = reply.worker,
                         .call = call_name(run.call),
                         .request_kind = request.kind,
                         .error = std::move(reply.error),
                         .exit_code = reply.exit_code,
                         .kind = reply.error_kind});
    reply.error.clear();
  }
  while (!outstanding_.empty() && outstanding_.front().answered) {
    outstanding_.pop_front();
    ++first_id_;
  }
  --run.replies_missing;
  if (!failures_.empty()) return;
  for (const comm::SavedShard& shard : reply.saved) note_saved(reply.worker, shard);

  if (run.kind == RunKind::kCall || run.kind == RunKind::kLoad) {
    if (run.kind == RunKind::kLoad) {  // not to be mixed with the call for which it loads
      for (comm::TimeRecord& time : reply.times) time.name = "load/" + time.name;
    }
    CallProgress& progress = progress_[base::index(run.call)];
    progress.times.add(reply.worker, reply.times, options_.n_workers);
    add_memory(progress.report.memory, reply.worker, reply.memory);
  }
  if (run.kind == RunKind::kExport) {
    run.replies.push_back(std::move(reply));
  } else if (rank >= 0 && calls_[base::index(run.call)].is_head(rank)) {
    run.replies[base::index(calls_[base::index(run.call)].data_rank[base::index(rank)])] =
        std::move(reply);
    if (--run.heads_missing == 0) finish_run(run);
  }
  if (run.replies_missing > 0) return;
  if (run.kind == RunKind::kExport || run.kind == RunKind::kLoadCarried) finish_run(run);
  runs_.erase(number);
}

void Dispatcher::finish_run(Run& run) {
  switch (run.kind) {
    case RunKind::kSave:
    case RunKind::kSaveEnd:
      break;
    case RunKind::kLoadCarried:
      finish_load_carried();
      break;
    case RunKind::kLoad:
      finish_load(run);
      break;
    case RunKind::kCall:
      finish_call(run);
      break;
    case RunKind::kEvaluate:
      finish_evaluation(run);
      break;
    case RunKind::kExport:
      std::sort(run.replies.begin(), run.replies.end(),
                [](const comm::Reply& a, const comm::Reply& b) { return a.worker < b.worker; });
      reports_.emplace_back(SaveReport{.kind = SaveKind::kExport,
                                       .step = run.step,
                                       .directory = run.directory,
                                       .replies = std::move(run.replies),
                                       .shards = {},
                                       .state = {},
                                       .seconds = now_ - run.sent_at});
      break;
  }
}

void Dispatcher::finish_load(Run& run) {
  const CallFacts& source = calls_[base::index(run.call)];
  const int n = source.data_size();
  std::vector<data::SampleId> ids;  // in the order of the data
  std::vector<int64_t> births;
  for (size_t i = 0; i < run.prompts.size(); ++i) {
    ids.push_back(run.ids[i % base::index(n)][i / base::index(n)]);
    births.push_back(next_birth_++);
  }
  std::vector<int> keys;  // those that some call reads and none writes
  for (const data::KeyMetadata& key : run.replies.front().output.keys) {
    const int number = keys_.find(key.key);
    if (number >= 0 && graph_.producer(key.key) < 0) keys.push_back(number);
  }
  const std::vector<int> rows = buffer_.put(ids, keys, births);
  for (size_t i = 0; i < rows.size(); ++i) id_of_row_[base::index(rows[i])] = ids[i].value;
  for (size_t i = 0; refill_ && i < rows.size(); ++i) row_of_birth_[births[i]] = rows[i];
  if (refill_) refill_->note_loaded(run.prompts, births.front());

  for (int data = 0; data < n; ++data) {
    const comm::Reply& reply = run.replies[base::index(data)];
    check_ids("load for call " + source.name, reply.worker, run.ids[base::index(data)],
              reply.output.ids);
    std::vector<int> own;
    for (size_t i = base::index(data); i < rows.size(); i += base::index(n)) own.push_back(rows[i]);
    for (const int key : keys) {
      const data::KeyMetadata* const found = reply.output.find(keys_.name(key));
      if (found == nullptr) {
        throw CallError(base::concat("load for call ", source.name, ", worker ", reply.worker),
                        {.expected = base::concat("key ", keys_.name(key), ", as from worker ",
                                                  run.replies.front().worker),
                         .got = "a batch without it",
                         .advice = "all datasets of a run must give the same keys"});
      }
      metadata_.record(own, key, *found);
      tracker_.add(reply.worker, own, key, Ownership::kOwner);
    }
    metadata_.record_extra(own, reply.output.extra);
  }
}

void Dispatcher::finish_call(Run& run) {
  const CallFacts& call = calls_[base::index(run.call)];
  CallProgress& progress = progress_[base::index(run.call)];
  if (refill_ && call.index == refill_->reward_call()) take_rewards(run);
  std::vector<metrics::Statistics> minibatches;
  for (int data = 0; data < call.data_size(); ++data) {
    if (call.kind != graph::CallKind::kTrainStep) store_outputs(call, run, data);
    const std::vector<metrics::Statistics>& of_rank = run.replies[base::index(data)].statistics;
    if (minibatches.size() < of_rank.size()) minibatches.resize(of_rank.size());
    for (size_t i = 0; i < of_rank.size(); ++i) minibatches[i].merge(of_rank[i]);
  }
  std::move(minibatches.begin(), minibatches.end(),
            std::back_inserter(progress.report.minibatches));
  progress.report.seconds += now_ - run.sent_at;
  for (const std::vector<int>& rows : run.rows) progress.finished += std::ssize(rows);
}

void Dispatcher::store_outputs(const CallFacts& call, const Run& run, int data) {
  const comm::Reply& reply = run.replies[base::index(data)];
  const std::vector<int>& rows = run.rows[base::index(data)];
  check_ids("call " + call.name, reply.worker, run.ids[base::index(data)], reply.output.ids);
  for (const int key : call.output_keys) {
    const data::KeyMetadata* const found = reply.output.find(keys_.name(key));
    if (found == nullptr) {
      throw CallError(base::concat("call ", call.name, ", worker ", reply.worker),
                      {.expected = base::concat("output key ", keys_.name(key)),
                       .got = "a batch without it",
                       .advice = base::concat("call.", call.name,
                                              ".outputs must name what its interface returns")});
    }
    metadata_.record(rows, key, *found);
    tracker_.add(reply.worker, rows, key, Ownership::kOwner);
  }
  metadata_.record_extra(rows, reply.output.extra);
  // A sample whose outputs nobody reads may have been read by everybody already.
  std::vector<int> unread;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(unread),
               [this](int row) { return buffer_.is_used(row); });
  buffer_.amend(unread, call.output_keys);
}

void Dispatcher::finish_evaluation(Run& run) {
  const EvaluatedSet& set = options_.evaluate.sets[base::index(run.set)];
  metrics::Statistics statistics;
  std::vector<metrics::EvaluatedRecord> records;
  for (comm::Reply& reply : run.replies) {
    statistics.merge(reply.evaluation);
    std::move(reply.evaluated.begin(), reply.evaluated.end(), std::back_inserter(records));
  }
  statistics.merge(metrics::evaluation_statistics(std::move(records), set.measures));
  if (set.n_in_training > 0) {
    statistics.sum("n_in_training", static_cast<double>(set.n_in_training));
  }
  const double target = options_.evaluate.stop_at_accuracy;
  if (target > 0 && run.set == 0) {
    auto accuracy = statistics.value("accuracy");
    if (!accuracy) accuracy = statistics.value("preference_accuracy");
    if (accuracy >= target) target_reached_ = true;
  }
  EvaluationReport report{.step = run.step,
                          .call = calls_[base::index(run.call)].name,
                          .set = set.name,
                          .statistics = statistics.with_prefix(set.prefix),
                          .seconds = now_ - run.sent_at};
  for (const comm::Reply& reply : run.replies) {
    for (const comm::TimeRecord& time : reply.times) {
      if (time.name == "main") report.work_seconds = std::max(report.work_seconds, time.seconds);
    }
  }
  if (best_.is_kept() && !best_metric_) {
    best_metric_ = report.statistics.value(best_.state().metric);
  }
  reports_.emplace_back(std::move(report));
}

}  // namespace orrery::master
