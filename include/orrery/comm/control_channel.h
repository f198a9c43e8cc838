// The master's line to its workers: requests one way, replies the other. Nothing here ever waits
// for a busy peer: what is sent is owned until it has left, and arrival is asked for, not awaited.
// One thread per end. Implementation: mpi_control_channel.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "orrery/comm/message.h"

namespace orrery::comm {

/// Master's end. Rank 0 only, main thread.
class ControlChannel {
 public:
  virtual ~ControlChannel() = default;

  virtual int n_workers() const = 0;

  /// Starts to send; returns at once. Sets Request::sequence.
  /// Throws CallError for a worker that does not exist, CommError when the network refuses.
  virtual void send(int worker, const Request& request) = 0;

  /// The oldest reply that has arrived, or nothing. Never waits.
  /// Throws ProtocolError when a reply is malformed, of another version, or out of sequence.
  virtual std::optional<Reply> poll() = 0;

  /// Like poll(), but waits up to `limit`. Spins at first, so a short call costs no sleep; then
  /// sleeps a 64th of the time waited, at most 1 ms at a time (backoff.h).
  virtual std::optional<Reply> wait(std::chrono::nanoseconds limit) = 0;

  /// Messages that have not left yet. Local.
  virtual int64_t n_unsent() const = 0;

  /// Waits until all messages have left. Throws CommError, naming the workers that did not take
  /// theirs, after `limit`. To be called before the end; the destructor does not wait.
  virtual void drain(std::chrono::nanoseconds limit) = 0;

  /// Ends the turn: all workers run what they have got. Sends RequestKind::kFlush to each.
  void flush();

  /// Tells all workers to leave their loops. Sends RequestKind::kExit to each.
  void send_exit();
};

/// Worker's end. Main thread of the worker.
class WorkerChannel {
 public:
  virtual ~WorkerChannel() = default;

  /// Next request, in sending order. Has no deadline: the master may have nothing for this worker.
  /// Spins at first, then sleeps as ControlChannel::wait() does (below 5 % of a core).
  /// Throws ProtocolError when a request is malformed, of another version, or out of sequence.
  virtual Request receive() = 0;

  /// Like receive(), but returns nothing when no request has arrived.
  virtual std::optional<Request> poll() = 0;

  /// Starts to send; returns at once or after some hundred microseconds.
  virtual void reply(const Reply& reply) = 0;

  /// Waits until all replies have left. Throws CommError after `limit`.
  virtual void drain(std::chrono::nanoseconds limit) = 0;
};

}  // namespace orrery::comm
