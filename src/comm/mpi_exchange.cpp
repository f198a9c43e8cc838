// Grouped point-to-point messages of MpiCommunicator: all receives posted, all sends started, then
// all awaited together, so that the order of peers never matters.
#include <mpi.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/comm/backoff.h"
#include "orrery/comm/mpi_communicator.h"

namespace orrery::comm {

namespace {

constexpr int kExchangeTag = 1;

/// One MPI message: a piece of one tensor.
struct Piece {
  int peer;
  int64_t bytes;
  int receive;  // its place among the receives; -1: is sent
};

class Pending {
 public:
  Pending(MPI_Comm comm, int64_t max_chunk_bytes) : comm_(comm), limit_(max_chunk_bytes) {}

  int receive(const Receive& receive) {
    pieces_left_.push_back(0);
    const int place = static_cast<int>(pieces_left_.size()) - 1;
    return for_pieces(receive.tensor, [&](std::byte* begin, int bytes, MPI_Request* request) {
      pieces_.push_back({receive.peer, bytes, place});
      ++pieces_left_.back();
      return MPI_Irecv(begin, bytes, MPI_BYTE, receive.peer, kExchangeTag, comm_, request);
    });
  }

  int send(const Send& send) {
    return for_pieces(send.tensor, [&](std::byte* begin, int bytes, MPI_Request* request) {
      pieces_.push_back({send.peer, bytes, -1});
      return MPI_Isend(begin, bytes, MPI_BYTE, send.peer, kExchangeTag, comm_, request);
    });
  }

  struct Progress {
    int n_finished = 0;
    std::vector<std::size_t> received;  // receives that are whole now
    int status = MPI_SUCCESS;
    const Piece* wrong_size = nullptr;
    int got_bytes = 0;
  };

  /// Asks once which have ended.
  Progress progress() {
    Progress result;
    const auto n = requests_.size();
    indices_.resize(n);
    statuses_.resize(n);
    result.status = MPI_Testsome(static_cast<int>(n), requests_.data(), &result.n_finished,
                                 indices_.data(), statuses_.data());
    if (result.n_finished == MPI_UNDEFINED) result.n_finished = 0;  // none left
    for (int i = 0; i < result.n_finished; ++i) {
      const Piece& piece = pieces_[static_cast<std::size_t>(indices_[base::index(i)])];
      MPI_Status& status = statuses_[base::index(i)];
      if (result.status == MPI_ERR_IN_STATUS) {
        if (status.MPI_ERROR == MPI_SUCCESS) continue;
        result.status = status.MPI_ERROR;
        return result;
      }
      if (piece.receive < 0) continue;
      MPI_Get_count(&status, MPI_BYTE, &result.got_bytes);
      if (result.got_bytes != piece.bytes) {
        result.wrong_size = &piece;
        return result;
      }
      const auto receive = static_cast<std::size_t>(piece.receive);
      if (--pieces_left_[receive] == 0) result.received.push_back(receive);
    }
    n_left_ -= result.n_finished;
    return result;
  }

  bool is_done() const { return n_left_ == 0; }

  /// Ranks whose messages have not ended.
  std::vector<int> late_peers() const {
    std::vector<int> peers;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i] != MPI_REQUEST_NULL) peers.push_back(pieces_[i].peer);
    }
    std::sort(peers.begin(), peers.end());
    peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
    return peers;
  }

 private:
  /// An empty tensor is one empty message, so that a peer that expects more notices.
  template <class Start>
  int for_pieces(const at::Tensor& tensor, const Start& start) {
    auto* begin = static_cast<std::byte*>(tensor.data_ptr());
    const auto total = static_cast<int64_t>(tensor.nbytes());
    int64_t offset = 0;
    do {
      const int64_t bytes = std::min(limit_, total - offset);
      MPI_Request request = MPI_REQUEST_NULL;
      const int status = start(begin + offset, static_cast<int>(bytes), &request);
      requests_.push_back(request);
      ++n_left_;
      if (status != MPI_SUCCESS) return status;
      offset += bytes;
    } while (offset < total);
    return MPI_SUCCESS;
  }

  MPI_Comm comm_;
  int64_t limit_;
  std::vector<MPI_Request> requests_;
  std::vector<Piece> pieces_;     // by request
  std::vector<int> pieces_left_;  // by receive
  std::vector<int> indices_;
  std::vector<MPI_Status> statuses_;
  int n_left_ = 0;
};

}  // namespace

void MpiCommunicator::do_exchange(std::string_view operation, std::span<const Send> sends,
                                  std::span<const Receive> receives,
                                  const OnReceived& on_received) {
  const auto start = Activity::Clock::now();
  const auto deadline = deadline_from(start);
  Pending pending(comm_.get(), options().max_chunk_bytes);
  // MPI may read and write these tensors after a failure: they must not go back to the allocator.
  const auto keep_tensors = [&] {
    auto* kept = new std::vector<at::Tensor>();
    for (const Send& send : sends) kept->push_back(send.tensor);
    for (const Receive& receive : receives) kept->push_back(receive.tensor);
  };
  const auto check_or_keep = [&](int status) {
    if (status == MPI_SUCCESS) return;
    keep_tensors();
    check(operation, status);
  };

  for (const Receive& receive : receives) check_or_keep(pending.receive(receive));
  for (const Send& send : sends) check_or_keep(pending.send(send));

  Backoff backoff(Backoff::kForCollectives);
  while (!pending.is_done()) {
    const Pending::Progress progress = pending.progress();
    check_or_keep(progress.status);
    if (progress.wrong_size != nullptr) {
      keep_tensors();
      const int peer = workers()[static_cast<std::size_t>(progress.wrong_size->peer)];
      throw_disagreement(operation,
                         base::concat(progress.wrong_size->bytes, " bytes from worker ", peer),
                         base::concat(progress.got_bytes, " bytes"));
    }
    if (progress.n_finished > 0) {
      try {
        for (const std::size_t receive : progress.received) on_received(receive);
      } catch (...) {
        keep_tensors();
        throw;
      }
      backoff.reset();
    } else if (Activity::Clock::now() >= deadline) {
      keep_tensors();
      throw_deadline(operation, pending.late_peers(), start);
    } else {
      backoff.pause();
    }
  }
}

}  // namespace orrery::comm
