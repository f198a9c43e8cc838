// The master's state machine: (state, replies that arrived) -> (state, requests to send). It loads
// samples, dispatches calls, keeps the books, ends steps and runs. No I/O and no clock inside: the
// caller polls, sends and says what time it is, so tests step it by hand.
//
// Main thread of the master. Decisions it rests on: docs/decisions (order of requests; which
// samples a batch takes; when a train_step may start).
//
//   - Requests have one total order, and every turn that sends ends with a flush to all workers;
//     that excludes deadlock between workers.
//   - Results do not depend on when replies arrive: the k-th batch of a call is the k-th n_seqs
//     samples of the step, in order of birth, and a train_step starts only when every other call
//     of the roles it changes has been dispatched for the whole step.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "orrery/comm/message.h"
#include "orrery/data/data_order.h"
#include "orrery/graph/graph.h"
#include "orrery/master/best_model.h"
#include "orrery/master/call_facts.h"
#include "orrery/master/dispatch.h"
#include "orrery/master/failure.h"
#include "orrery/master/frequency_control.h"
#include "orrery/master/master_state.h"
#include "orrery/master/payload.h"
#include "orrery/master/refill.h"
#include "orrery/master/replica_state.h"
#include "orrery/master/sequence_buffer.h"
#include "orrery/master/step_clock.h"
#include "orrery/master/step_report.h"
#include "orrery/metrics/evaluation.h"

namespace orrery::master {

/// A set that is evaluated, each time by all of its calls.
struct EvaluatedSet {
  std::string name = {};        ///< empty: the only one
  std::string prefix = {};      ///< of its metrics: `eval/`, `eval/math500/`
  std::vector<int> calls = {};  ///< train_step calls whose models are evaluated
  metrics::EvaluationMeasures measures = {};
  int64_t n_in_training = 0;  ///< of its prompts so many are trained on
};

struct EvaluationOptions {
  Frequency frequency = {};
  bool at_start = false;
  bool at_end = false;
  std::vector<EvaluatedSet> sets = {};  ///< empty: never
  /// Ends the run once the accuracy of the first set is that high; 0: never.
  double stop_at_accuracy = 0;
  std::string best_metric = {};    ///< whose best model is kept; empty: none
  bool best_metric_falls = false;  ///< smaller is better
  int64_t stop_after =
      0;  ///< ends the run after so many evaluations without a better one; 0: never
};

struct SavingOptions {
  Frequency frequency;
  bool at_end = false;
  std::string directory;  ///< of all saves; empty: never
};

struct DispatcherOptions {
  int n_workers = 1;
  Pattern redistribution = Pattern::kDirect;
  std::vector<int> node_of_worker;  ///< [n_workers]; empty: all on one node
  StopConditions stop;
  EvaluationOptions evaluate;
  SavingOptions export_models;
  SavingOptions checkpoint;
  std::vector<CallCost> costs;  ///< [calls]; empty: no operations are counted
  graph::ResidencyPolicy residency;
  MemoryLimits memory;
  /// Draws again until a step is full of groups that teach something; nothing: takes what comes.
  std::optional<RefillOptions> refill = {};
};

/// A request that has not been answered.
struct Waiting {
  int worker = 0;
  std::string call;
  comm::RequestKind kind = comm::RequestKind::kEmpty;
  double since = 0;
};

class Dispatcher {
 public:
  /// Throws ConfigError when graph, workers and order of data do not go together.
  Dispatcher(graph::Graph graph, data::DataOrder order, DispatcherOptions options);

  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  /// Continues a run; before the first advance().
  void restore(const MasterState& state);

  /// One turn: applies the replies, then does everything that is possible now. Returns what to
  /// send, in this order; it ends with a flush (at the end of the run: exit) to every worker, or is
  /// empty. After an error reply nothing more is sent (see failures()).
  ///   now  seconds since the run's start, never falling
  /// Throws ProtocolError (a reply to nothing) or CallError (a reply that does not fit its request,
  /// a step that cannot go on).
  std::vector<Outgoing> advance(std::vector<comm::Reply> replies, double now);

  /// Ends the run after the step at hand, with a checkpoint if there is a directory for them.
  void request_stop() { stop_requested_ = true; }

  bool is_finished() const { return phase_ == Phase::kFinished; }
  /// Set once no further step begins.
  std::optional<StopReason> stop_reason() const { return stop_reason_; }
  const std::vector<Failure>& failures() const { return failures_; }

  /// What ended since the last call, in order.
  std::vector<Report> take_reports();

  int n_outstanding() const { return n_outstanding_; }
  std::vector<Waiting> all_waiting() const;

  int64_t steps_done() const { return steps_done_; }
  /// As after the last step that ended; meaningful between steps only. A checkpoint's SaveReport
  /// has the one that belongs to it.
  MasterState state() const;

  const graph::Graph& graph() const { return graph_; }
  const StorageTracker& tracker() const { return tracker_; }
  const SequenceBuffer& buffer() const { return buffer_; }
  const ReplicaState& replicas() const { return replicas_; }

 private:
  enum class Phase { kStart, kBetweenSteps, kStep, kAfterStep, kEnding, kFinished };
  enum class RunKind { kLoad, kLoadCarried, kCall, kEvaluate, kExport, kSave, kSaveEnd };

  /// Requests that belong together and what came back: one run of a call, one load, one save, ...
  struct Run {
    RunKind kind = RunKind::kCall;
    int call = -1;
    int replies_missing = 0;
    int heads_missing = 0;
    double sent_at = 0;
    std::vector<std::vector<int>> rows = {};            // kCall: [data ranks]
    std::vector<std::vector<data::SampleId>> ids = {};  // kCall, kLoad: [data ranks]
    std::vector<comm::Reply> replies = {};  // [data ranks] of the heads; saves: all, by worker
    int64_t step = 0;
    int set = -1;  // kEvaluate: of the options' sets
    std::string directory = {};
    std::vector<data::RowRef> prompts = {};  // kLoad, in the order of the data
  };
  struct Outstanding {
    int run = -1;
    int worker = 0;
    int rank = -1;  // shard of the call, or -1 for a side request
    comm::RequestKind kind = comm::RequestKind::kEmpty;
    double since = 0;
    bool answered = false;
  };
  /// A checkpoint that workers write in the background.
  struct Saving {
    int64_t step = 0;
    std::string directory = {};
    MasterState state = {};
    double began_at = 0;
    std::vector<comm::SavedShard> shards = {};  // [workers]; without a file: not written yet
    int n_missing = 0;
  };
  /// What a step has added up for one call.
  struct CallProgress {
    int64_t dispatched = 0;  // samples
    int64_t finished = 0;
    CallReport report;
    PhaseTimes times;
  };

  // Phases (dispatcher.cpp)
  void proceed();
  void begin_step();
  bool is_step_complete() const;
  void end_step();
  void begin_ending();
  void save_at_end();
  std::optional<StopReason> why_stop() const;
  comm::StepInfo step_info() const;

  // Work of a step (dispatcher_step.cpp)
  void load_samples();
  void load_rows(const std::vector<data::RowRef>& rows, const std::vector<data::RowRef>& next);
  void dispatch_ready_calls();
  /// Samples of the step for a call, as far as that is known.
  int64_t step_size(int call) const;
  /// Samples of its next run.
  int64_t batch_size(int call) const;
  bool may_run(int call);
  void dispatch_call(int call);
  void throw_if_stuck() const;

  // Dynamic sampling (dispatcher_refill.cpp)
  void refill();
  bool is_round_done() const;
  void take_rewards(Run& run);
  void release_batch();
  std::vector<int> rows_of(const std::vector<int64_t>& births) const;
  void drop_groups(const std::vector<int64_t>& births);
  void load_carried();
  void place_carried();
  void finish_load_carried();
  RefillState refill_state() const;
  std::vector<comm::KeepSamplesHook> carried_by_worker() const;

  // Evaluation and saves (dispatcher_save.cpp)
  bool evaluate_now();
  bool export_now();
  bool settle_best();
  void report_best();
  bool checkpoint_now();
  void await_checkpoint();
  void note_saved(int worker, const comm::SavedShard& shard);

  // Replies (dispatcher_replies.cpp)
  void apply(comm::Reply reply);
  void finish_run(Run& run);
  void finish_load(Run& run);
  void finish_call(Run& run);
  void finish_evaluation(Run& run);
  void store_outputs(const CallFacts& call, const Run& run, int data);

  // Sending (dispatcher.cpp)
  int open_run(Run run);
  void send(Outgoing outgoing, int run, int rank);
  void append_flush();
  void forget(const std::vector<int>& rows);
  std::string call_name(int call) const;

  graph::Graph graph_;
  data::DataOrder order_;
  DispatcherOptions options_;
  KeyTable keys_;
  std::vector<CallFacts> calls_;
  std::vector<std::vector<int>> runs_after_;  // [call] calls that must be dispatched before it
  int source_ = 0;                            // the call for whose heads samples are loaded
  int64_t samples_per_step_ = 0;
  std::optional<Refill> refill_;
  int accepted_key_ = -1;  // of samples that the calls that wait for a full batch may read
  SequenceBuffer buffer_;
  RowMetadata metadata_;
  StorageTracker tracker_;
  ReplicaState replicas_;
  FrequencyControl evaluate_control_, export_control_, checkpoint_control_;
  BestModel best_;

  Phase phase_ = Phase::kStart;
  bool phase_begun_ = false;
  double now_ = 0;
  double seconds_before_ = 0;  // of the parts of the run before the last resume
  double checked_at_ = 0;      // when the controls were last asked
  int64_t steps_done_ = 0;
  bool stop_requested_ = false;
  bool target_reached_ = false;
  bool checkpoint_due_ = false;
  bool is_saved_at_end_ = false;
  bool best_to_settle_ = false;        // an evaluation has begun and not been judged
  std::optional<double> best_metric_;  // what it found
  bool best_to_report_ = false;        // its export has begun
  std::optional<StopReason> stop_reason_;
  int64_t evaluated_at_ = -1, exported_at_ = -1, checkpointed_at_ = -1;  // steps

  std::vector<CallProgress> progress_;  // [calls]
  int64_t next_birth_ = 0;
  int64_t first_birth_of_step_ = 0;
  double step_began_at_ = 0;
  std::vector<int> freed_rows_;  // read by every call; cleared at the end of the step
  std::vector<uint64_t> id_of_row_;
  std::vector<data::RowRef> upcoming_;  // rows of the next step, announced to the workers
  data::DataOrder::State order_before_upcoming_;
  std::map<int64_t, int> row_of_birth_;        // of the groups that dynamic sampling holds
  std::vector<CarriedGroup> carried_to_load_;  // from a checkpoint

  std::vector<Outgoing> out_;
  size_t n_flushed_ = 0;                            // of out_
  std::vector<std::vector<data::SampleId>> clear_;  // by worker: to ride on its next request
  std::vector<Saving> savings_;  // at most the one being written and one about to be
  std::map<int, Run> runs_;
  int next_run_ = 0;
  std::deque<Outstanding> outstanding_;  // request ids first_id_, first_id_ + 1, ...
  uint64_t first_id_ = 1;
  int n_outstanding_ = 0;
  std::vector<Failure> failures_;
  std::vector<Report> reports_;
};

}  // namespace orrery::master
