#include "orrery/worker/parameter_moves.h"

#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/parallel/reallocation.h"

namespace orrery::worker {

ParameterMoves::ParameterMoves(std::vector<graph::Replica> replicas,
                               std::vector<int> node_of_worker, HostedModels& models,
                               comm::Communicator& workers)
    : replicas_(std::move(replicas)),
      node_of_worker_(std::move(node_of_worker)),
      models_(models),
      workers_(workers) {}

const graph::Replica& ParameterMoves::find(const std::string& role, int index) const {
  for (const graph::Replica& replica : replicas_) {
    if (replica.id.role == role && replica.id.index == index) return replica;
  }
  throw CallError(base::concat("there is no replica ", role, ".", index),
                  {.expected = "a replica of the graph",
                   .got = base::concat(replicas_.size(), " others"),
                   .advice = "this is a fault of the master's plan: report it"});
}

const parallel::ReallocationPlan& ParameterMoves::plan_between(
    const graph::Replica& from, const graph::Replica& to, const model::Architecture& architecture) {
  const std::string name = base::concat(from.id.text(), " -> ", to.id.text());
  if (const auto known = plans_.find(name); known != plans_.end()) return known->second;
  parallel::ReallocationOptions options;
  options.node_of_worker = node_of_worker_;
  return plans_
      .emplace(name,
               parallel::plan_reallocation(parallel::shards_of(architecture, from.layout),
                                           parallel::shards_of(architecture, to.layout), options))
      .first->second;
}

void ParameterMoves::run(const comm::ReallocHook& hook) {
  const graph::Replica& from = find(hook.from_role.empty() ? hook.role : hook.from_role, hook.from);
  const graph::Replica& to = find(hook.role, hook.to);
  const HostedModel* const source = models_.find(from.id);
  HostedModel* const destination = models_.find(to.id);
  if (source == nullptr && destination == nullptr) return;
  for (const HostedModel* const hosted : {source, static_cast<const HostedModel*>(destination)}) {
    ORRERY_ASSERT(hosted == nullptr || !hosted->decoder->parameters().is_offloaded(),
                  "what moves is on its device: the master fetches it before");
  }
  const at::Tensor sent = source == nullptr ? at::Tensor() : source->decoder->parameters().stored();
  at::Tensor filled;
  if (destination != nullptr) {
    model::FlatParameters& parameters = destination->decoder->parameters();
    parameters.acquire();
    filled = parameters.stored();
    // Steps of a moving average are smaller than bf16 can tell apart.
    if (hook.eta != 1 && parameters.dtype() == at::kBFloat16) {
      if (!destination->shadow.defined()) {
        destination->shadow =
            parameters.values().to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
      }
      filled = destination->shadow;
    }
  }
  const HostedModel& own = source != nullptr ? *source : *destination;
  parallel::reallocate(plan_between(from, to, own.decoder->architecture()), workers_, sent, filled,
                       models_.dtype_of(to.id.role), hook.eta);
  if (destination == nullptr) return;
  model::FlatParameters& parameters = destination->decoder->parameters();
  if (destination->shadow.defined()) {
    if (hook.eta == 1) {
      destination->shadow.copy_(parameters.stored());
    } else {
      parameters.stored().copy_(destination->shadow);
    }
  }
  parameters.widen();
}

void ParameterMoves::run(const comm::ResidencyHook& hook) {
  HostedModel& hosted = models_.at(find(hook.role, hook.replica).id);
  switch (hook.action) {
    case comm::ResidencyHook::kOffload:
      return hosted.decoder->parameters().offload();
    case comm::ResidencyHook::kPrefetch:
      return hosted.decoder->parameters().fetch();
    case comm::ResidencyHook::kRelease:
      return hosted.decoder->parameters().release();
    case comm::ResidencyHook::kOffloadOptimizer:
      return hosted.engine->optimizer().offload();
    case comm::ResidencyHook::kFetchOptimizer:
      return hosted.engine->optimizer().fetch();
  }
}

}  // namespace orrery::worker
