#include "orrery/parallel/reallocation.h"

#include <algorithm>
#include <span>
#include <vector>

#include "orrery/base/error.h"
#include "packed_copies.h"

namespace orrery::parallel {

namespace {

at::Tensor source_of(const at::Tensor& flat, const StridedCopy& copy) {
  return runs_of(flat, copy.source_offset, copy.source_stride, copy);
}

at::Tensor destination_of(const at::Tensor& flat, const StridedCopy& copy) {
  return runs_of(flat, copy.destination_offset, copy.destination_stride, copy);
}

using Copies = std::span<const StridedCopy>;

/// Runs of at least so many elements are messages of their own: they need no buffer, and their
/// transfer takes longer than the latency of a message.
constexpr int64_t kDirectElements = int64_t{16} << 10;

/// What a transfer is sent as, on both sides: long runs one by one, the rest together.
std::vector<Copies> messages_of(const Transfer& transfer) {
  const auto is_direct = [](const StridedCopy& copy) {
    return copy.rows == 1 && copy.length >= kDirectElements;
  };
  const Copies all = transfer.copies;
  std::vector<Copies> messages;
  for (size_t first = 0; first < all.size();) {
    size_t end = first + 1;
    if (!is_direct(all[first])) {
      while (end < all.size() && !is_direct(all[end])) ++end;
    }
    messages.push_back(all.subspan(first, end - first));
    first = end;
  }
  return messages;
}

int64_t numel_of(Copies copies) {
  int64_t numel = 0;
  for (const StridedCopy& copy : copies) numel += copy.numel();
  return numel;
}

bool is_one_run(Copies copies) { return copies.size() == 1 && copies[0].rows == 1; }

/// What is sent as one message. A single run of the right type needs no buffer.
at::Tensor packed(Copies copies, const at::Tensor& source, at::ScalarType wire, int64_t& buffered) {
  if (is_one_run(copies) && source.scalar_type() == wire) return source_of(source, copies[0]);
  at::Tensor buffer = at::empty({numel_of(copies)}, source.options().dtype(wire));
  buffered += static_cast<int64_t>(buffer.nbytes());
  gather_copies(copies, source, buffer);
  return buffer;
}

/// Where one message is received; the destination itself if it may be overwritten.
at::Tensor room_for(Copies copies, const at::Tensor& destination, at::ScalarType wire, double eta,
                    int64_t& buffered) {
  if (eta == 1 && destination.scalar_type() == wire && is_one_run(copies)) {
    return destination_of(destination, copies[0]);
  }
  at::Tensor buffer = at::empty({numel_of(copies)}, destination.options().dtype(wire));
  buffered += static_cast<int64_t>(buffer.nbytes());
  return buffer;
}

void unpack(Copies copies, const at::Tensor& buffer, const at::Tensor& destination, double eta) {
  if (buffer.is_alias_of(destination)) return;  // received in place
  scatter_copies(copies, buffer, destination, eta);
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
    std::vector<Copies> incoming;  // by receive
    int64_t buffered = 0;
    for (const Transfer& transfer : round) {
      if (transfer.from == own && transfer.to == own) {
        for (const StridedCopy& copy : transfer.copies) {
          mix(destination_of(destination, copy), source_of(source, copy), eta);
        }
        result.bytes_copied += transfer.numel() * destination.element_size();
      } else if (transfer.from == own) {
        for (const Copies copies : messages_of(transfer)) {
          sends.push_back({transfer.to, packed(copies, source, wire, buffered)});
          result.bytes_sent += static_cast<int64_t>(sends.back().tensor.nbytes());
        }
      } else if (transfer.to == own) {
        for (const Copies copies : messages_of(transfer)) {
          receives.push_back({transfer.from, room_for(copies, destination, wire, eta, buffered)});
          incoming.push_back(copies);
          result.bytes_received += static_cast<int64_t>(receives.back().tensor.nbytes());
        }
      }
    }
    if (!sends.empty() || !receives.empty()) workers.exchange(sends, receives);
    for (size_t i = 0; i < incoming.size(); ++i) {
      unpack(incoming[i], receives[i].tensor, destination, eta);
    }
    result.peak_bytes = std::max(result.peak_bytes, buffered);
  }
  return result;
}

}  // namespace orrery::parallel
