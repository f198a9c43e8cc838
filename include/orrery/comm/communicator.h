// A group of ranks that move tensors together. Every operation is collective over the group (except
// exchange: over those it names) and returns when the tensors may be used, or throws CommError once
// the deadline has passed; then the group is broken for good, and the process should end.
//
// Tensors of a GPU may be used by what is enqueued behind on the current stream: the operation is
// there as well, and its ranks need not have come when the call returns. What the host reads it
// reads through a copy on that stream, which waits. A thread watches the operations; one that fails
// or misses its deadline ends on the GPU with whatever is in its tensors, so whoever hands on what
// the host has read calls throw_if_failed() first.
//
// All ranks of a group call the same operations in the same order with equal shapes; with
// CommunicatorOptions::check_agreement a disagreement is an error instead of a hang. One thread at
// a time per process (MPI_THREAD_SERIALIZED). Tensors must be contiguous and on the device of the
// backend; there are no other restrictions on type or size, empty ones included.
// Backends: mpi_communicator.h (CPU), nccl_communicator.h (CUDA), dual_communicator.h (both),
// tests/support/thread_communicator.h.
#pragma once

#include <ATen/core/Tensor.h>  // Send and Receive store tensors

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/comm/activity.h"

namespace orrery {
class CommError;
}

namespace orrery::comm {

/// How elements of the same place are combined. bf16 and fp16 are combined in fp32 on CPUs and
/// rounded once; bool: kSum and kMax are "or", kMin is "and".
enum class ReduceOp : uint8_t { kSum, kMin, kMax };

/// One message of an exchange, to rank `peer`.
struct Send {
  int peer = -1;
  at::Tensor tensor = {};
};
/// One message of an exchange, from rank `peer`, written into `tensor`, which has its exact size.
struct Receive {
  int peer = -1;
  at::Tensor tensor = {};
};

/// Told which receive of an exchange has its tensor, by its place among them.
using OnReceived = std::function<void(std::size_t)>;

struct CommunicatorOptions {
  static constexpr int64_t kDefaultChunkBytes = int64_t{1} << 30;  // counts of MPI are ints

#ifdef NDEBUG
  static constexpr bool kCheckByDefault = false;
#else
  static constexpr bool kCheckByDefault = true;
#endif

  /// How long one operation may wait for peers.
  std::chrono::duration<double> deadline{600};
  /// Told about every wait; may be null. Must outlive the communicator and its splits.
  Activity* activity = nullptr;
  /// Compare operation, type, size and root over the ranks before each collective: one more
  /// round trip. On in debug builds.
  bool check_agreement = kCheckByDefault;
  /// Largest message handed to the backend at once; longer ones go in pieces.
  int64_t max_chunk_bytes = kDefaultChunkBytes;
};

class Communicator {
 public:
  /// Colour of ranks that take part in a split but get no group.
  static constexpr int kNoColour = -1;

  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(workers_.size()); }
  const std::string& name() const { return name_; }
  /// [size] worker of each rank; for the group of all workers the identity.
  const std::vector<int>& workers() const { return workers_; }
  const CommunicatorOptions& options() const { return options_; }
  /// Device of the tensors of this backend; the host's where it has those of GPUs as well.
  virtual at::DeviceType device_type() const = 0;
  /// Whether its operations take tensors there.
  virtual bool carries(at::DeviceType type) const { return type == device_type(); }

  virtual void set_deadline(std::chrono::duration<double> deadline) {
    options_.deadline = deadline;
  }

  /// Throws the CommError of an operation that failed after its call had returned; every operation
  /// does that first. Local, does not wait.
  virtual void throw_if_failed() {}

  /// Gives what the current stream has so far, of which this group has operations, a deadline as
  /// `operation` (a constant): after the launch of a graph that they were captured in. Local, does
  /// not wait.
  virtual void watch(std::string_view /*operation*/) {}
  /// Whether operations on GPUs wait for each other's arguments (CommunicatorOptions): then they
  /// cannot be captured.
  virtual bool checks_agreement() const { return options_.check_agreement; }

  // All that follow are collective over the group. They throw ShapeError (before anything is sent)
  // when a tensor does not fit, and CommError when a peer missed the deadline or disagrees.

  /// x [any] in place: combined over the ranks.
  void all_reduce(at::Tensor& x, ReduceOp op);
  /// in [n...]; out of size() * in.numel() elements: those of rank 0 first. `in` may be its own
  /// block of `out`.
  void all_gather(at::Tensor& out, const at::Tensor& in);
  /// in of size() * out.numel() elements; out: block rank() of the combined `in`, may be that
  /// block.
  void reduce_scatter(at::Tensor& out, const at::Tensor& in, ReduceOp op);
  /// x on all ranks becomes that of `root`.
  void broadcast(at::Tensor& x, int root);
  /// Like all_gather, but only `root` gets it; elsewhere `out` is ignored and may be undefined.
  void gather(at::Tensor& out, const at::Tensor& in, int root);
  /// out: block rank() of the `in` of `root`, of size() * out.numel() elements; elsewhere `in` is
  /// ignored and may be undefined.
  void scatter(at::Tensor& out, const at::Tensor& in, int root);
  /// Rows of `in`, in_rows[r] of them to rank r, in order; out: out_rows[r] rows of rank r, in
  /// order. in [sum(in_rows), ...], out [sum(out_rows), ...] with equal trailing extents.
  void all_to_all_v(at::Tensor& out, std::span<const int64_t> out_rows, const at::Tensor& in,
                    std::span<const int64_t> in_rows);
  /// Point-to-point in one go: all receives are posted, all sends started, then all awaited, so no
  /// order among the peers can deadlock. Several messages of one pair match in their order.
  /// `on_received` is called on this thread as tensors come, while later ones are under way where
  /// the backend can; for those of a GPU once all are enqueued. It may use the tensor, not the
  /// communicator.
  /// Collective over the ranks named, each of which calls exchange with the counterparts.
  void exchange(
      std::span<const Send> sends, std::span<const Receive> receives,
      const OnReceived& on_received = [](std::size_t) {});
  void exchange(std::initializer_list<Send> sends, std::initializer_list<Receive> receives) {
    exchange(std::span(sends.begin(), sends.size()), std::span(receives.begin(), receives.size()));
  }
  /// Returns when all ranks have called it, whatever the backend.
  void barrier();

  /// New groups, one per colour, ranks ordered by (key, rank here). Returns null for kNoColour.
  /// `name` is that of the caller's new group. Options are inherited.
  std::unique_ptr<Communicator> split(int colour, int key, std::string name);

 protected:
  Communicator(std::string name, int rank, std::vector<int> workers, CommunicatorOptions options);

  /// Name and members for error texts: `actor.0/tensor1 (workers 1,2)`.
  std::string text() const;
  /// End of a wait that began then.
  Activity::Clock::time_point deadline_from(Activity::Clock::time_point since) const;
  /// Of an operation for which `missing` workers did not come in time. Any thread.
  CommError deadline_error(std::string_view operation, std::span<const int> missing,
                           std::chrono::duration<double> deadline,
                           Activity::Clock::time_point since) const;
  /// Of another failure. Any thread.
  CommError failure_error(std::string_view operation, std::string_view what) const;
  /// What a backend throws when `ranks` did not come in time; marks the group as broken.
  [[noreturn]] void throw_deadline(std::string_view operation, std::span<const int> ranks,
                                   Activity::Clock::time_point since);
  /// What a backend throws for another failure; marks the group as broken.
  [[noreturn]] void throw_failure(std::string_view operation, std::string_view what);
  /// What a backend throws when ranks called different things; marks the group as broken.
  [[noreturn]] void throw_disagreement(std::string_view operation, std::string expected,
                                       std::string got);
  bool is_broken() const { return is_broken_; }
  /// From now on every operation is refused.
  void mark_broken() { is_broken_ = true; }
  /// [size - 1] all ranks but this one.
  std::vector<int> other_ranks() const;
  const std::vector<int>& other_workers() const { return others_; }

 private:
  // Backends. Arguments are checked: contiguous, right device, fitting sizes; tensors are empty
  // only in do_exchange. A backend keeps every tensor that a peer may still write to after a
  // failure.
  virtual void do_all_reduce(at::Tensor& x, ReduceOp op) = 0;
  virtual void do_all_gather(at::Tensor& out, const at::Tensor& in) = 0;
  virtual void do_reduce_scatter(at::Tensor& out, const at::Tensor& in, ReduceOp op) = 0;
  virtual void do_broadcast(at::Tensor& x, int root) = 0;
  virtual void do_gather(at::Tensor& out, const at::Tensor& in, int root) = 0;
  virtual void do_scatter(at::Tensor& out, const at::Tensor& in, int root) = 0;
  virtual void do_exchange(std::string_view operation, std::span<const Send> sends,
                           std::span<const Receive> receives, const OnReceived& on_received) = 0;
  virtual void do_barrier() = 0;
  virtual std::unique_ptr<Communicator> do_split(int colour, int key, std::string name) = 0;

  class Operation;  // one public call: refuses when broken, tells Activity
  struct Call;      // what all ranks must agree on
  void agree(const Call& call);

  std::string name_;
  int rank_ = 0;
  std::vector<int> workers_;
  std::vector<int> others_;
  CommunicatorOptions options_;
  bool is_broken_ = false;
};

}  // namespace orrery::comm
