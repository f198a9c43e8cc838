// The dispatcher's part in dynamic sampling: rounds until a step is full, groups that are let go or
// carried over, and what of those a checkpoint keeps. What is accepted, and when enough is,
// refill.h decides.
#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/json.h"  // reported rewards
#include "orrery/base/text.h"
#include "orrery/master/dispatcher.h"

namespace orrery::master {

namespace {

/// null: the answer has no reward.
std::vector<double> rewards_in(const std::string& text) {
  std::vector<double> rewards;
  for (const nlohmann::json& number : base::parse_json(text).value) {
    rewards.push_back(number.is_number() ? number.get<double>()
                                         : std::numeric_limits<double>::quiet_NaN());
  }
  return rewards;
}

}  // namespace

bool Dispatcher::is_round_done() const {
  for (int call = 0; call < graph_.size(); ++call) {
    if (refill_->is_judging(call) && progress_[base::index(call)].finished < refill_->n_loaded()) {
      return false;
    }
  }
  return std::none_of(runs_.begin(), runs_.end(),
                      [](const auto& numbered) { return numbered.second.kind == RunKind::kLoad; });
}

/// Judges a round that is done, and draws the next one or lets the step's other calls run.
void Dispatcher::refill() {
  if (refill_->is_full() || !is_round_done()) return;
  if (refill_->has_round()) drop_groups(refill_->judge_round().rejected);
  const std::vector<data::RowRef> rows = refill_->next_round(order_);
  if (rows.empty()) return release_batch();
  load_rows(rows, refill_->upcoming());
}

void Dispatcher::release_batch() {
  const SampledStep& filled = refill_->fill();
  drop_groups(filled.discarded);
  const std::vector<int> rows = rows_of(filled.accepted);
  const std::vector<int> key = {accepted_key_};
  buffer_.amend(rows, key);
  for (const int64_t birth : filled.accepted) row_of_birth_.erase(birth);
}

std::vector<int> Dispatcher::rows_of(const std::vector<int64_t>& births) const {
  std::vector<int> rows;
  for (const int64_t birth : births) rows.push_back(row_of_birth_.at(birth));
  return rows;
}

void Dispatcher::drop_groups(const std::vector<int64_t>& births) {
  const std::vector<int> rows = rows_of(births);
  // Every shard of a call keeps its outputs; the tracker knows those of the heads.
  const std::vector<int>& loaded_on = calls_[base::index(source_)].workers;
  std::set<int> workers(loaded_on.begin(), loaded_on.end());
  for (const CallFacts& call : calls_) {
    if (refill_->is_judging(call.index)) workers.insert(call.workers.begin(), call.workers.end());
  }
  for (const int worker : workers) {
    for (const int row : rows) clear_[base::index(worker)].push_back(buffer_.id(row));
  }
  tracker_.clear(rows);
  metadata_.forget(rows);
  buffer_.remove(rows);
  for (const int64_t birth : births) row_of_birth_.erase(birth);
}

/// The reported rewards are for the rule only and travel no further.
void Dispatcher::take_rewards(Run& run) {
  for (size_t data = 0; data < run.replies.size(); ++data) {
    auto& extra = run.replies[data].output.extra;
    const auto found = extra.find(comm::kReportedValues);
    if (found == extra.end()) continue;  // judge_round() says what is missing
    for (size_t i = 0; i < found->second.size() && i < run.rows[data].size(); ++i) {
      refill_->note_rewards(buffer_.birth(run.rows[data][i]), rewards_in(found->second[i]));
    }
    extra.erase(found);
  }
}

RefillState Dispatcher::refill_state() const {
  RefillState state = refill_->state();
  for (const int64_t birth : refill_->rule().carried()) {
    const std::vector<int> row = {row_of_birth_.at(birth)};
    CarriedGroup& group = state.carried.emplace_back();
    group.prompt = refill_->prompt(birth);
    for (int key = 0; key < keys_.size(); ++key) {
      if (!tracker_.knows(key) || tracker_.owner(row.front(), key) < 0) continue;
      group.keys.push_back(metadata_.assemble(row, key));
      group.keys.back().key = keys_.name(key);
      group.owners.push_back(tracker_.owner(row.front(), key));
      group.holders.emplace_back();
      for (int worker = 0; worker < options_.n_workers; ++worker) {
        if (tracker_.holds(worker, row.front(), key)) group.holders.back().push_back(worker);
      }
    }
    for (const auto& [name, texts] : metadata_.assemble_extra(row)) {
      group.extra[name] = texts.front();
    }
  }
  return state;
}

/// Each key of a carried group is written by the worker that owns it.
std::vector<comm::KeepSamplesHook> Dispatcher::carried_by_worker() const {
  std::vector<comm::KeepSamplesHook> hooks(base::index(options_.n_workers));
  for (const int64_t birth : refill_->rule().carried()) {
    const std::vector<int> row = {row_of_birth_.at(birth)};
    std::map<int, data::BatchMetadata> parts;  // by worker
    for (int key = 0; key < keys_.size(); ++key) {
      const int owner = tracker_.knows(key) ? tracker_.owner(row.front(), key) : -1;
      if (owner < 0) continue;
      data::BatchMetadata& part = parts[owner];
      part.ids = {buffer_.id(row.front())};
      part.keys.push_back(metadata_.assemble(row, key));
      part.keys.back().key = keys_.name(key);
    }
    for (auto& [worker, part] : parts)
      hooks[base::index(worker)].batches.push_back(std::move(part));
  }
  return hooks;
}

/// Where they were, so that the run goes on in every respect as if it had not been interrupted;
/// with fewer workers, where loaded samples would go: group i to data rank i mod n.
void Dispatcher::place_carried() {
  const CallFacts& source = calls_[base::index(source_)];
  for (size_t i = 0; i < carried_to_load_.size(); ++i) {
    CarriedGroup& group = carried_to_load_[i];
    const bool are_here =
        std::all_of(group.holders.begin(), group.holders.end(), [this](const auto& workers) {
          return std::all_of(workers.begin(), workers.end(),
                             [this](int worker) { return worker < options_.n_workers; });
        });
    if (are_here) continue;
    const int head = source.head_worker(static_cast<int>(i % base::index(source.data_size())));
    group.owners.assign(group.keys.size(), head);
    group.holders.assign(group.keys.size(), {head});
  }
}

void Dispatcher::load_carried() {
  place_carried();
  // One request for all groups of which a worker gets the same keys.
  std::map<std::pair<int, std::vector<std::string>>, std::vector<data::BatchMetadata>> parts;
  for (const CarriedGroup& group : carried_to_load_) {
    std::map<int, data::BatchMetadata> by_worker;
    for (size_t k = 0; k < group.keys.size(); ++k) {
      for (const int worker : group.holders[k]) by_worker[worker].keys.push_back(group.keys[k]);
    }
    for (auto& [worker, batch] : by_worker) {
      batch.ids = {group.prompt.id};
      std::vector<std::string> names;
      for (const data::KeyMetadata& key : batch.keys) names.push_back(key.key);
      parts[{worker, names}].push_back(std::move(batch));
    }
  }
  const int number = open_run({.kind = RunKind::kLoadCarried, .call = source_});
  for (const auto& [where, groups] : parts) {
    Outgoing outgoing{.worker = where.first, .request = {}};
    outgoing.request.call = source_;
    outgoing.request.kind = comm::RequestKind::kLoad;
    outgoing.request.step.step = steps_done_;
    outgoing.request.batch = data::gather(groups);
    send(std::move(outgoing), number, -1);
  }
}

void Dispatcher::finish_load_carried() {
  const std::vector<CarriedGroup> groups = std::exchange(carried_to_load_, {});
  std::vector<int> judging;
  for (int call = 0; call < graph_.size(); ++call) {
    if (refill_->is_judging(call)) judging.push_back(call);
  }
  for (const CarriedGroup& group : groups) {
    std::vector<int> keys;
    for (const data::KeyMetadata& key : group.keys) {
      keys.push_back(keys_.find(key.key));
      ORRERY_ASSERT(keys.back() >= 0, "a key that no call of the graph has");
    }
    const std::vector<data::SampleId> id = {group.prompt.id};
    const std::vector<int64_t> birth = {next_birth_++};
    const std::vector<int> row = buffer_.put(id, keys, birth);
    buffer_.pass_over(row.front(), judging);
    id_of_row_[base::index(row.front())] = group.prompt.id.value;
    row_of_birth_[birth.front()] = row.front();
    for (size_t k = 0; k < keys.size(); ++k) {
      metadata_.record(row, keys[k], group.keys[k]);
      for (const int worker : group.holders[k]) {
        const bool is_owner = worker == group.owners[k];
        tracker_.add(worker, row, keys[k], is_owner ? Ownership::kOwner : Ownership::kCopy);
      }
    }
    std::map<std::string, std::vector<std::string>> extra;
    for (const auto& [name, text] : group.extra) extra[name] = {text};
    metadata_.record_extra(row, extra);
  }
}

}  // namespace orrery::master
