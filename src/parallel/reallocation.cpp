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

/// Copies of at least so many elements are messages of their own: where a side has them in one run
/// it needs no buffer, and their transfer takes longer than the latency of a message.
constexpr int64_t kDirectElements = int64_t{16} << 10;

/// What a transfer is sent as, on both sides: large copies one by one, the rest together.
std::vector<Copies> messages_of(const ParameterTransfer& transfer) {
  const auto is_direct = [](const StridedCopy& copy) { return copy.numel() >= kDirectElements; };
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

/// The elements of a flat buffer that a message holds, if they lie there in one run; else
/// undefined.
at::Tensor one_run(const at::Tensor& flat, int64_t offset, int64_t stride, Copies copies) {
  if (copies.size() != 1) return {};
  const StridedCopy& copy = copies[0];
  if (copy.rows > 1 && stride != copy.length) return {};
  return flat.narrow(0, offset, copy.numel());
}

at::Tensor buffer_for(Copies copies, const at::TensorOptions& options, int64_t& buffered) {
  at::Tensor buffer = at::empty({numel_of(copies)}, options);
  buffered += static_cast<int64_t>(buffer.nbytes());
  return buffer;
}

/// A block that this worker has and wants. Through the kernels where one side is in one run.
void copy_here(const StridedCopy& copy, const at::Tensor& source, const at::Tensor& destination,
               double eta) {
  const Copies copies(&copy, 1);
  const at::Tensor from = one_run(source, copy.source_offset, copy.source_stride, copies);
  // A GPU would be sent the list of this one copy first.
  if (from.defined() && from.is_cpu()) return scatter_copies(copies, from, destination, eta);
  mix(destination_of(destination, copy), source_of(source, copy), eta);
}

/// What is sent as one message. A run of the right type needs no buffer.
at::Tensor packed(Copies copies, const at::Tensor& source, at::ScalarType wire, int64_t& buffered) {
  if (source.scalar_type() == wire) {
    const StridedCopy& first = copies[0];
    at::Tensor run = one_run(source, first.source_offset, first.source_stride, copies);
    if (run.defined()) return run;
  }
  at::Tensor buffer = buffer_for(copies, source.options().dtype(wire), buffered);
  gather_copies(copies, source, buffer);
  return buffer;
}

/// Where one message is received; the destination itself if it may be overwritten.
at::Tensor room_for(Copies copies, const at::Tensor& destination, at::ScalarType wire, double eta,
                    int64_t& buffered) {
  if (eta == 1 && destination.scalar_type() == wire) {
    const StridedCopy& first = copies[0];
    at::Tensor run =
        one_run(destination, first.destination_offset, first.destination_stride, copies);
    if (run.defined()) return run;
  }
  return buffer_for(copies, destination.options().dtype(wire), buffered);
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
  for (const std::vector<ParameterTransfer>& round : plan.rounds) {
    std::vector<comm::Send> sends;
    std::vector<comm::Receive> receives;
    std::vector<Copies> incoming;  // by receive
    int64_t buffered = 0;
    for (const ParameterTransfer& transfer : round) {
      if (transfer.from == own && transfer.to == own) {
        for (const StridedCopy& copy : transfer.copies) {
          copy_here(copy, source, destination, eta);
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
    if (!sends.empty() || !receives.empty()) {
      workers.exchange(sends, receives, [&](size_t i) {
        unpack(incoming[i], receives[i].tensor, destination, eta);
      });
    }
    result.peak_bytes = std::max(result.peak_bytes, buffered);
  }
  return result;
}

}  // namespace orrery::parallel
