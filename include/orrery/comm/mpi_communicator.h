// Communicator for CPU tensors over MPI. Uses only the forms that return at once (`MPI_I...`) and
// asks for their end in a loop, since a call that blocks inside MPI can have no deadline.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "orrery/comm/communicator.h"
#include "orrery/comm/mpi_handle.h"  // UniqueMpiComm
#include "orrery/comm/node_map.h"

namespace orrery::comm {

class MpiCommunicator final : public Communicator {
 public:
  /// The ranks of `parent`, on a communicator of their own; worker = rank.
  /// Collective over `parent`. Throws CommError.
  static std::unique_ptr<MpiCommunicator> create(MPI_Comm parent, std::string name,
                                                 CommunicatorOptions options);

  ~MpiCommunicator() override;

  at::DeviceType device_type() const override { return at::kCPU; }

 private:
  MpiCommunicator(UniqueMpiComm comm, std::string name, int rank, std::vector<int> workers,
                  const CommunicatorOptions& options);

  void do_all_reduce(at::Tensor& x, ReduceOp op) override;
  void do_all_gather(at::Tensor& out, const at::Tensor& in) override;
  void do_reduce_scatter(at::Tensor& out, const at::Tensor& in, ReduceOp op) override;
  void do_broadcast(at::Tensor& x, int root) override;
  void do_gather(at::Tensor& out, const at::Tensor& in, int root) override;
  void do_scatter(at::Tensor& out, const at::Tensor& in, int root) override;
  void do_exchange(std::string_view operation, std::span<const Send> sends,
                   std::span<const Receive> receives, const OnReceived& on_received) override;
  void do_barrier() override;
  std::unique_ptr<Communicator> do_split(int colour, int key, std::string name) override;

  /// Waits for a collective that uses `tensors`.
  void finish(std::string_view operation, MPI_Request request, std::vector<at::Tensor> tensors);
  void check(std::string_view operation, int status);
  void reduce_in_place(at::Tensor x, ReduceOp op);
  /// Elements of this type per piece.
  int64_t chunk_elements(const at::Tensor& x) const;

  UniqueMpiComm comm_;
};

/// The group of all workers, rank = worker; null on the master. Collective over `world`.
std::unique_ptr<Communicator> make_worker_communicator(MPI_Comm world, const NodeMap& nodes,
                                                       const CommunicatorOptions& options);

}  // namespace orrery::comm
