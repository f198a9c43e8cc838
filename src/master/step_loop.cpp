#include "orrery/master/step_loop.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>
#include <variant>

#include "orrery/base/clock.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::master {

namespace {

using base::concat;
using base::join;
using std::chrono::milliseconds;

/// How long one wait for a reply lasts: so often the stop flag and the deadline are looked at.
constexpr milliseconds kWait{50};
/// Names in an error text.
constexpr size_t kMaxNamed = 8;

/// Of several failures the one that the others follow from: a failing disk explains what else went
/// wrong, and the job may go on elsewhere; that a peer is lost follows from whatever ended the
/// peer.
const Failure& cause_of(const std::vector<Failure>& failures) {
  const auto rank = [](const Failure& failure) {
    if (failure.exit_code == static_cast<int>(ExitCode::kOutputFailed)) return 0;
    return failure.exit_code == static_cast<int>(ExitCode::kPeerLost) ? 2 : 1;
  };
  return *std::min_element(failures.begin(), failures.end(),
                           [&](const Failure& a, const Failure& b) { return rank(a) < rank(b); });
}

class StepLoop {
 public:
  StepLoop(Dispatcher& dispatcher, comm::ControlChannel& channel, StepObserver& observer,
           const StepLoopOptions& options)
      : dispatcher_(dispatcher), channel_(channel), observer_(observer), options_(options) {}

  StopReason run() {
    while (true) {
      std::vector<comm::Reply> replies = arrived_replies();
      const base::Stopwatch work;
      if (options_.stop_requested && options_.stop_requested()) dispatcher_.request_stop();
      const std::vector<Outgoing> outgoing =
          dispatcher_.advance(std::move(replies), clock_.seconds());
      if (!dispatcher_.failures().empty()) throw_failures();
      send(outgoing);
      master_seconds_ += work.seconds();
      tell_observer();
      if (dispatcher_.is_finished()) break;
      check_deadline();
    }
    channel_.drain(std::chrono::duration_cast<std::chrono::nanoseconds>(
        std::chrono::duration<double>(options_.deadline_seconds)));
    return *dispatcher_.stop_reason();
  }

 private:
  /// All that have come; waits for one if there is nothing else to do.
  std::vector<comm::Reply> arrived_replies() {
    std::vector<comm::Reply> replies;
    if (dispatcher_.n_outstanding() > 0) {
      if (std::optional<comm::Reply> first = channel_.wait(kWait)) {
        replies.push_back(std::move(*first));
      }
    }
    while (std::optional<comm::Reply> reply = channel_.poll()) {
      replies.push_back(std::move(*reply));
    }
    if (!replies.empty()) last_reply_ = clock_.seconds();
    return replies;
  }

  void send(const std::vector<Outgoing>& outgoing) {
    if (!outgoing.empty()) last_reply_ = clock_.seconds();  // the wait for an answer begins here
    for (const Outgoing& out : outgoing) {
      if (out.worker != kEveryWorker) {
        channel_.send(out.worker, out.request);
      } else if (out.request.kind == comm::RequestKind::kExit) {
        channel_.send_exit();
      } else {
        channel_.flush();
      }
    }
  }

  void tell_observer() {
    for (Report& report : dispatcher_.take_reports()) {
      if (auto* const step = std::get_if<StepReport>(&report)) {
        step->master_seconds = std::exchange(master_seconds_, 0);
        observer_.on_step(*step);
      } else if (const auto* const evaluation = std::get_if<EvaluationReport>(&report)) {
        observer_.on_evaluation(*evaluation);
      } else if (const auto* const save = std::get_if<SaveReport>(&report)) {
        observer_.on_save(*save);
      } else {
        observer_.on_finish(std::get<FinishReport>(report));
      }
    }
  }

  void check_deadline() {
    const double now = clock_.seconds();
    if (dispatcher_.n_outstanding() == 0 || now - last_reply_ < options_.deadline_seconds) return;
    if (options_.any_progress && options_.any_progress()) {
      last_reply_ = now;
      return;
    }
    const std::vector<Waiting> waiting = dispatcher_.all_waiting();
    std::vector<std::string> named;
    for (const Waiting& request : waiting) {
      if (named.size() == kMaxNamed) {
        named.push_back(concat("and ", waiting.size() - kMaxNamed, " more"));
        break;
      }
      named.push_back(concat("worker ", request.worker, " (call ", request.call, ", ",
                             comm::name_of(request.kind), ", asked ", now - request.since,
                             " s ago)"));
    }
    throw PeerError("master: no worker answers",
                    {.expected = concat("a reply within ", options_.deadline_seconds, " s"),
                     .got = concat("none from ", join(named, ", ")),
                     .advice = "look at the logs of these workers, or raise "
                               "experiment.deadline_seconds"});
  }

  [[noreturn]] void throw_failures() {
    const double until = clock_.seconds() + options_.error_collection_seconds;
    for (double now = clock_.seconds(); now < until && dispatcher_.n_outstanding() > 0;
         now = clock_.seconds()) {
      if (std::optional<comm::Reply> reply = channel_.wait(milliseconds(20))) {
        std::vector<comm::Reply> replies;
        replies.push_back(std::move(*reply));
        dispatcher_.advance(std::move(replies), now);
      }
    }
    const Failure& cause = cause_of(dispatcher_.failures());
    throw_error(cause.kind, static_cast<ExitCode>(cause.exit_code),
                text_of(dispatcher_.failures()));
  }

  Dispatcher& dispatcher_;
  comm::ControlChannel& channel_;
  StepObserver& observer_;
  const StepLoopOptions& options_;
  base::Stopwatch clock_;
  double last_reply_ = 0;
  double master_seconds_ = 0;
};

}  // namespace

StopReason run_steps(Dispatcher& dispatcher, comm::ControlChannel& channel, StepObserver& observer,
                     const StepLoopOptions& options) {
  return StepLoop(dispatcher, channel, observer, options).run();
}

}  // namespace orrery::master
