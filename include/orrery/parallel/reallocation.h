// Carries out a reallocation plan: parameters of one replica become those of another,
// destination = eta * source + (1 - eta) * destination.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "orrery/comm/communicator.h"
#include "orrery/parallel/reallocation_plan.h"

namespace orrery::parallel {

struct ReallocationResult {
  int64_t bytes_sent = 0;
  int64_t bytes_received = 0;
  int64_t bytes_copied = 0;  ///< within the worker
  int64_t peak_bytes = 0;    ///< of buffers, in one round
};

/// This worker's part of the plan.
///   source       [numel] flat buffer of its source shard; undefined: it has none
///   destination  [numel] flat buffer of its destination shard; undefined: it has none
///   wire         type on the way, that of the destination everywhere: the sender converts
///   workers      its ranks are the plan's workers
/// Collective over the workers that the plan names. Throws CommError.
ReallocationResult reallocate(const ReallocationPlan& plan, comm::Communicator& workers,
                              const at::Tensor& source, const at::Tensor& destination,
                              at::ScalarType wire, double eta = 1);

}  // namespace orrery::parallel
