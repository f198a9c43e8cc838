// The requests of one call, in the order in which they are sent: all its shards in rank order, then
// side requests for workers that only take part in its transfers, then for those needed only by its
// parameter hooks. Pure; main thread of the master.
#pragma once

#include <span>
#include <vector>

#include "orrery/comm/message.h"
#include "orrery/master/call_facts.h"
#include "orrery/master/replica_state.h"  // ParameterHooks

namespace orrery::master {

/// Instead of a worker: kFlush and kExit go to all of them (ControlChannel::flush, send_exit).
inline constexpr int kEveryWorker = -1;

/// A request and the worker it goes to.
struct Outgoing {
  int worker = kEveryWorker;
  comm::Request request;
};

struct CallPayload {
  const CallFacts* call = nullptr;
  comm::RequestKind kind = comm::RequestKind::kEmpty;
  comm::StepInfo step = {};
  std::vector<data::BatchMetadata> batches = {};            ///< [data ranks]; empty: no batch
  std::vector<std::vector<comm::Transfer>> transfers = {};  ///< [phases]
  ParameterHooks hooks = {};
  std::string report = {};  ///< Request::body of the shards' requests
};

struct CallRequests {
  std::vector<Outgoing> requests;
  int n_main = 0;  ///< the first ones: request i is shard (rank) i of the call
};

/// Hooks of a main request: data transfer (one for phase 0, even if this worker moves nothing, and
/// one for each later phase that concerns it), then the pre-hooks; after the handle the post-hooks.
/// Each worker gets the transfers and hooks in which it takes part. Numbers
/// (Request::id) are left 0. Local.
CallRequests build_requests(CallPayload payload, int n_workers);

}  // namespace orrery::master
