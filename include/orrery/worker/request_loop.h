// The loop of a worker: what it does with the master's requests, and in which order.
//
//   receive ... receive flush | phase 1: pre-hooks, in sending order
//                             | phase 2: handles, each with the post-hooks that meet nobody
//                             | phase 3: post-hooks that meet other workers; replies
//
// consumes:  requests, up to and including a flush
// produces:  one reply per request, after its last hook; it carries any error
// waits for: the master (without deadline: it may have nothing for us) and, inside hooks and
//            handles, for peers (with the communicator's deadline)
//
// Every worker sees the same flushes and, within one, its requests in the master's one total
// order, so two workers meet in their collectives in the same order (docs/decisions).
#pragma once

#include <cstdint>

#include "orrery/comm/activity.h"
#include "orrery/comm/control_channel.h"  // WorkerChannel
#include "orrery/comm/message.h"

namespace orrery::worker {

/// What the loop asks for. The worker proper runs models; tests record.
class Handlers {
 public:
  virtual ~Handlers() = default;
  /// Before anything else of `request`: forgets the samples that it clears.
  virtual void begin(const comm::Request& request) = 0;
  /// Runs one hook of `request`; adds its time record or evaluation to `reply`. May be collective
  /// over the workers that the hook names.
  virtual void run_hook(const comm::Request& request, const comm::Hook& hook,
                        comm::Reply& reply) = 0;
  /// Runs the main handle; fills output and statistics of `reply`.
  virtual void run_request(const comm::Request& request, comm::Reply& reply) = 0;
};

/// Serves requests until the master says exit. After a request failed its error has been sent and
/// no other work is started: peers may be inside a collective that this worker will not join, so
/// the master ends the job. `activity` (may be null) is told when it waits for the master. Main
/// thread of the worker.
void serve_requests(comm::WorkerChannel& channel, Handlers& handlers, int worker,
                    comm::Activity* activity = nullptr);

/// Instead of that, for a worker that could not be made: tells the master why, which ends the job
/// and says it once for all workers that could not be made for the same reason.
void serve_error(comm::WorkerChannel& channel, const std::exception& error, int worker,
                 comm::Activity* activity = nullptr);

}  // namespace orrery::worker
