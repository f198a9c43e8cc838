#include "orrery/comm/mpi_communicator.h"

#include <ATen/ops/empty_like.h>

#include <algorithm>  // min
#include <limits>
#include <numeric>  // iota
#include <utility>

#include "mpi_reduction.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/comm/backoff.h"
#include "tensor_text.h"

namespace orrery::comm {

namespace {

bool is_half(at::ScalarType type) { return type == at::kBFloat16 || type == at::kHalf; }

std::byte* bytes_of(const at::Tensor& x) { return static_cast<std::byte*>(x.data_ptr()); }

/// `bytes` bytes in a place of `stride` bytes: blocks of a piece lie apart in the whole.
UniqueMpiDatatype block_type(int64_t bytes, int64_t stride) {
  MPI_Datatype block = MPI_DATATYPE_NULL;
  ORRERY_MPI(MPI_Type_contiguous(static_cast<int>(bytes), MPI_BYTE, &block));
  const UniqueMpiDatatype owned(block);
  MPI_Datatype spaced = MPI_DATATYPE_NULL;
  ORRERY_MPI(MPI_Type_create_resized(block, 0, stride, &spaced));
  UniqueMpiDatatype result(spaced);
  ORRERY_MPI(MPI_Type_commit(&spaced));
  return result;
}

/// MPI can neither cancel a collective nor say that it will not touch these tensors any more: after
/// a failure they must not go back to the allocator while the process lives.
void keep_for_good(std::vector<at::Tensor> tensors) {
  new std::vector<at::Tensor>(std::move(tensors));
}

/// Calls piece(offset, size) for consecutive pieces of at most `limit`.
template <class Piece>
void for_pieces(int64_t total, int64_t limit, const Piece& piece) {
  for (int64_t offset = 0; offset < total; offset += limit) {
    piece(offset, std::min(limit, total - offset));
  }
}

}  // namespace

MpiCommunicator::MpiCommunicator(UniqueMpiComm comm, std::string name, int rank,
                                 std::vector<int> workers, const CommunicatorOptions& options)
    : Communicator(std::move(name), rank, std::move(workers), options), comm_(std::move(comm)) {
  ORRERY_ASSERT(options.max_chunk_bytes <= std::numeric_limits<int>::max(), "counts are ints");
}

MpiCommunicator::~MpiCommunicator() {
  // A failed operation may still be under way in MPI; freeing its communicator could hang.
  if (is_broken()) comm_.release();
}

std::unique_ptr<MpiCommunicator> MpiCommunicator::create(MPI_Comm parent, std::string name,
                                                         CommunicatorOptions options) {
  UniqueMpiComm comm = duplicate(parent);
  int rank = 0;
  int size = 1;
  ORRERY_MPI(MPI_Comm_rank(comm.get(), &rank));
  ORRERY_MPI(MPI_Comm_size(comm.get(), &size));
  std::vector<int> workers(static_cast<std::size_t>(size));
  std::iota(workers.begin(), workers.end(), 0);
  return std::unique_ptr<MpiCommunicator>(
      new MpiCommunicator(std::move(comm), std::move(name), rank, std::move(workers), options));
}

void MpiCommunicator::check(std::string_view operation, int status) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw_failure(operation, std::string_view(text, static_cast<std::size_t>(length)));
}

void MpiCommunicator::finish(std::string_view operation, MPI_Request request,
                             std::vector<at::Tensor> tensors) {
  const auto start = Activity::Clock::now();
  const auto deadline = deadline_from(start);
  Backoff backoff(Backoff::kForCollectives);
  while (true) {
    int is_done = 0;
    const int status = MPI_Test(&request, &is_done, MPI_STATUS_IGNORE);
    const bool is_late = is_done == 0 && Activity::Clock::now() >= deadline;
    if (status != MPI_SUCCESS || is_late) {
      keep_for_good(std::move(tensors));
    }
    check(operation, status);
    if (is_done != 0) return;
    if (is_late) throw_deadline(operation, other_ranks(), start);
    backoff.pause();
  }
}

int64_t MpiCommunicator::chunk_elements(const at::Tensor& x) const {
  // Half-precision elements travel as fp32.
  const int64_t element = is_half(x.scalar_type()) ? 4 : static_cast<int64_t>(x.element_size());
  return std::max<int64_t>(1, options().max_chunk_bytes / element);
}

void MpiCommunicator::reduce_in_place(at::Tensor x, ReduceOp op) {
  const MpiReduction reduction = mpi_reduction(x.scalar_type(), op);
  MPI_Request request = MPI_REQUEST_NULL;
  check("all_reduce", MPI_Iallreduce(MPI_IN_PLACE, x.data_ptr(), static_cast<int>(x.numel()),
                                     reduction.type, reduction.op, comm_.get(), &request));
  finish("all_reduce", request, {x});
}

void MpiCommunicator::do_all_reduce(at::Tensor& x, ReduceOp op) {
  at::Tensor flat = x.view({-1});
  for_pieces(flat.numel(), chunk_elements(x), [&](int64_t offset, int64_t count) {
    at::Tensor piece = flat.narrow(0, offset, count);
    if (is_half(x.scalar_type())) {
      const at::Tensor wide = piece.to(at::kFloat);
      reduce_in_place(wide, op);
      piece.copy_(wide);
    } else {
      reduce_in_place(piece, op);
    }
  });
}

void MpiCommunicator::do_all_gather(at::Tensor& out, const at::Tensor& in) {
  const int64_t block = static_cast<int64_t>(in.nbytes());
  // MPI implementations multiply count and rank as ints, so the whole result must fit.
  const int64_t limit = std::max<int64_t>(1, options().max_chunk_bytes / size());
  const bool in_place = bytes_of(in) == bytes_of(out) + rank() * block;
  for_pieces(block, limit, [&](int64_t offset, int64_t bytes) {
    const UniqueMpiDatatype type = block_type(bytes, block);
    const void* from = in_place ? MPI_IN_PLACE : bytes_of(in) + offset;
    MPI_Request request = MPI_REQUEST_NULL;
    check("all_gather",
          MPI_Iallgather(from, static_cast<int>(bytes), MPI_BYTE, bytes_of(out) + offset, 1,
                         type.get(), comm_.get(), &request));
    finish("all_gather", request, {in, out});
  });
}

void MpiCommunicator::do_gather(at::Tensor& out, const at::Tensor& in, int root) {
  const int64_t block = static_cast<int64_t>(in.nbytes());
  const int64_t limit = std::max<int64_t>(1, options().max_chunk_bytes / size());
  for_pieces(block, limit, [&](int64_t offset, int64_t bytes) {
    const UniqueMpiDatatype type = block_type(bytes, block);
    MPI_Request request = MPI_REQUEST_NULL;
    check("gather", MPI_Igather(bytes_of(in) + offset, static_cast<int>(bytes), MPI_BYTE,
                                rank() == root ? bytes_of(out) + offset : nullptr, 1, type.get(),
                                root, comm_.get(), &request));
    finish("gather", request, {in, out});
  });
}

void MpiCommunicator::do_scatter(at::Tensor& out, const at::Tensor& in, int root) {
  const int64_t block = static_cast<int64_t>(out.nbytes());
  const int64_t limit = std::max<int64_t>(1, options().max_chunk_bytes / size());
  for_pieces(block, limit, [&](int64_t offset, int64_t bytes) {
    const UniqueMpiDatatype type = block_type(bytes, block);
    MPI_Request request = MPI_REQUEST_NULL;
    check("scatter", MPI_Iscatter(rank() == root ? bytes_of(in) + offset : nullptr, 1, type.get(),
                                  bytes_of(out) + offset, static_cast<int>(bytes), MPI_BYTE, root,
                                  comm_.get(), &request));
    finish("scatter", request, {in, out});
  });
}

void MpiCommunicator::do_reduce_scatter(at::Tensor& out, const at::Tensor& in, ReduceOp op) {
  const bool half = is_half(in.scalar_type());
  const int64_t block = out.numel();
  // Pieces go through a buffer of [size, piece], since MPI's operators take no spaced types.
  const int64_t limit = std::max<int64_t>(1, chunk_elements(in) / size());
  const at::Tensor blocks = in.view({size(), block});
  at::Tensor flat = out.view({-1});
  for_pieces(block, limit, [&](int64_t offset, int64_t count) {
    const at::ScalarType type = half ? at::kFloat : in.scalar_type();
    const at::Tensor from = blocks.narrow(1, offset, count).contiguous().to(type);
    at::Tensor piece = flat.narrow(0, offset, count);
    // Not into `piece` itself, which may be a part of `in`.
    const at::Tensor to = at::empty_like(piece, type);
    const MpiReduction reduction = mpi_reduction(type, op);
    MPI_Request request = MPI_REQUEST_NULL;
    check("reduce_scatter",
          MPI_Ireduce_scatter_block(from.data_ptr(), to.data_ptr(), static_cast<int>(count),
                                    reduction.type, reduction.op, comm_.get(), &request));
    finish("reduce_scatter", request, {from, to});
    piece.copy_(to);
  });
}

void MpiCommunicator::do_broadcast(at::Tensor& x, int root) {
  for_pieces(static_cast<int64_t>(x.nbytes()), options().max_chunk_bytes,
             [&](int64_t offset, int64_t bytes) {
               MPI_Request request = MPI_REQUEST_NULL;
               check("broadcast", MPI_Ibcast(bytes_of(x) + offset, static_cast<int>(bytes),
                                             MPI_BYTE, root, comm_.get(), &request));
               finish("broadcast", request, {x});
             });
}

void MpiCommunicator::do_barrier() {
  MPI_Request request = MPI_REQUEST_NULL;
  check("barrier", MPI_Ibarrier(comm_.get(), &request));
  finish("barrier", request, {});
}

std::unique_ptr<Communicator> MpiCommunicator::do_split(int colour, int key, std::string name) {
  do_barrier();  // has the deadline that MPI_Comm_split lacks
  MPI_Comm raw = MPI_COMM_NULL;
  ORRERY_MPI(MPI_Comm_split(comm_.get(), colour == kNoColour ? MPI_UNDEFINED : colour, key, &raw));
  if (raw == MPI_COMM_NULL) return nullptr;
  UniqueMpiComm comm(raw);
  ORRERY_MPI(MPI_Comm_set_errhandler(raw, MPI_ERRORS_RETURN));
  int new_rank = 0;
  int new_size = 1;
  ORRERY_MPI(MPI_Comm_rank(raw, &new_rank));
  ORRERY_MPI(MPI_Comm_size(raw, &new_size));
  const int self = workers()[static_cast<std::size_t>(rank())];
  std::vector<int> members(static_cast<std::size_t>(new_size));
  ORRERY_MPI(MPI_Allgather(&self, 1, MPI_INT, members.data(), 1, MPI_INT, raw));
  return std::unique_ptr<Communicator>(new MpiCommunicator(
      std::move(comm), std::move(name), new_rank, std::move(members), options()));
}

std::unique_ptr<Communicator> make_worker_communicator(MPI_Comm world, const NodeMap& nodes,
                                                       const CommunicatorOptions& options) {
  int rank = 0;
  ORRERY_MPI(MPI_Comm_rank(world, &rank));
  const int worker = nodes.worker_of_rank.at(base::index(rank));
  MPI_Comm raw = MPI_COMM_NULL;
  ORRERY_MPI(MPI_Comm_split(world, worker < 0 ? MPI_UNDEFINED : 0, worker, &raw));
  if (raw == MPI_COMM_NULL) return nullptr;
  const UniqueMpiComm comm(raw);
  return MpiCommunicator::create(raw, "workers", options);
}

}  // namespace orrery::comm
