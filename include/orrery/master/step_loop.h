// The driver around the dispatcher: replies in, requests out, reports to an observer.
//
//   +--> replies that arrived --> Dispatcher::advance --> send, flush --> reports to the observer
//   --+
//   +-----------------------------------------------------------------------------------------------+
//
// consumes:  replies of workers
// produces:  requests, flushes, at last an exit for all; reports
// waits for: replies, while any request is unanswered; every worker with an unanswered request can
//            end the wait. No reply at all for the deadline is an error, unless a worker is known
//            to make progress.
//
// Rank 0 only, its main thread.
#pragma once

#include <functional>
#include <vector>

#include "orrery/comm/control_channel.h"
#include "orrery/master/dispatcher.h"
#include "orrery/master/step_report.h"

namespace orrery::master {

/// Is told what happened. Called between sending and waiting: what it does there delays no worker,
/// but slow work belongs on a thread of its own.
class StepObserver {
 public:
  virtual ~StepObserver() = default;
  virtual void on_step(const StepReport& report) = 0;
  virtual void on_evaluation(const EvaluationReport& report) = 0;
  /// All workers have written their part. For a checkpoint: publish it now.
  virtual void on_save(const SaveReport& report) = 0;
  virtual void on_finish(const FinishReport& report) = 0;
};

struct StepLoopOptions {
  double deadline_seconds = 600;
  /// Polled every turn; true ends the run after the step at hand. May be empty.
  std::function<bool()> stop_requested = {};
  /// Asked before a missed deadline is reported: has any worker made progress within the deadline?
  /// (Generating for an hour is legal.) Empty: replies alone count.
  std::function<bool()> any_progress = {};
  /// After the first error reply: how long to collect those of others, for one report.
  double error_collection_seconds = 2;
};

/// Runs until the dispatcher is finished; returns why it stopped.
/// Throws CallError (workers reported errors; names worker, call and handle of each), PeerError (no
/// reply within the deadline; names those that are waited for, in which call and handle, and since
/// when), or what dispatcher and channel throw.
StopReason run_steps(Dispatcher& dispatcher, comm::ControlChannel& channel, StepObserver& observer,
                     const StepLoopOptions& options);

}  // namespace orrery::master
