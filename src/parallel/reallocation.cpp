#include "orrery/parallel/reallocation.h"

#include <algorithm>
#include <vector>

#include "orrery/base/error.h"

namespace orrery::parallel {

namespace {

at::Tensor runs(const at::Tensor& flat, int64_t offset, int64_t stride, const StridedCopy& copy) {
  if (copy.rows == 1) return flat.narrow(0, offset, copy.length);
  return flat.as_strided({copy.rows, copy.length}, {stride, 1}, offset);
}

at::Tensor source_of(const at::Tensor& flat, const StridedCopy& copy) {
  return runs(flat, copy.source_offset, copy.source_stride, copy);
}

at::Tensor destination_of(const at::Tensor& flat, const StridedCopy& copy) {
  return runs(flat, copy.destination_offset, copy.destination_stride, copy);
}

void mix(at::Tensor to, const at::Tensor& from, double eta) {
  if (eta == 1) {
    to.copy_(from);
  } else {
    to.lerp_(from.to(to.scalar_type()), eta);
  }
}

/// What is sent to one peer in one round. A single run of the right type needs no buffer.
at::Tensor packed(const Transfer& transfer, const at::Tensor& source, at::ScalarType wire,
                  int64_t& buffered) {
  if (transfer.copies.size() == 1 && transfer.copies[0].rows == 1 && source.scalar_type() == wire) {
    return source_of(source, transfer.copies[0]);
  }
  at::Tensor buffer = at::empty({transfer.numel()}, source.options().dtype(wire));
  buffered += static_cast<int64_t>(buffer.nbytes());
  int64_t at = 0;
  for (const StridedCopy& copy : transfer.copies) {
    const at::Tensor from = source_of(source, copy);
    buffer.narrow(0, at, copy.numel()).view(from.sizes()).copy_(from);
    at += copy.numel();
  }
  return buffer;
}

/// Where what comes from one peer is received; the destination itself if it may be overwritten.
at::Tensor room_for(const Transfer& transfer, const at::Tensor& destination, double eta,
                    int64_t& buffered) {
  if (eta == 1 && transfer.copies.size() == 1 && transfer.copies[0].rows == 1) {
    return destination_of(destination, transfer.copies[0]);
  }
  at::Tensor buffer = at::empty({transfer.numel()}, destination.options());
  buffered += static_cast<int64_t>(buffer.nbytes());
  return buffer;
}

void unpack(const Transfer& transfer, const at::Tensor& buffer, const at::Tensor& destination,
            double eta) {
  if (buffer.is_alias_of(destination)) return;  // received in place
  int64_t at = 0;
  for (const StridedCopy& copy : transfer.copies) {
    const at::Tensor to = destination_of(destination, copy);
    mix(to, buffer.narrow(0, at, copy.numel()).view(to.sizes()), eta);
    at += copy.numel();
  }
}

}  // namespace

ReallocationResult reallocate(const ReallocationPlan& plan, comm::Communicator& workers,
                              const at::Tensor& source, const at::Tensor& destination,
                              at::ScalarType wire, double eta) {
  ReallocationResult result;
  const int own = workers.rank();
  for (const std::vector<Transfer>& round : plan.rounds) {
    std::vector<comm::Send> sends;
    std::vector<comm::Receive> receives;
    std::vector<const Transfer*> incoming;
    int64_t buffered = 0;
    for (const Transfer& transfer : round) {
      if (transfer.from == own && transfer.to == own) {
        for (const StridedCopy& copy : transfer.copies) {
          mix(destination_of(destination, copy), source_of(source, copy), eta);
        }
        result.bytes_copied += transfer.numel() * destination.element_size();
      } else if (transfer.from == own) {
        sends.push_back({transfer.to, packed(transfer, source, wire, buffered)});
        result.bytes_sent += static_cast<int64_t>(sends.back().tensor.nbytes());
      } else if (transfer.to == own) {
        receives.push_back({transfer.from, room_for(transfer, destination, eta, buffered)});
        incoming.push_back(&transfer);
        result.bytes_received += static_cast<int64_t>(receives.back().tensor.nbytes());
      }
    }
    if (!sends.empty() || !receives.empty()) workers.exchange(sends, receives);
    for (size_t i = 0; i < incoming.size(); ++i) {
      unpack(*incoming[i], receives[i].tensor, destination, eta);
    }
    result.peak_bytes = std::max(result.peak_bytes, buffered);
  }
  return result;
}

}  // namespace orrery::parallel
