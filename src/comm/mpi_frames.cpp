#include "mpi_frames.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/comm/mpi_handle.h"  // ORRERY_MPI

namespace orrery::comm {

namespace {

// Messages taken per poll, so that a flood from some ranks does not starve the caller.
constexpr int kMaxMessagesPerPoll = 64;

}  // namespace

FrameSender::FrameSender(MPI_Comm comm, MessageTag tag, int64_t max_chunk_bytes)
    : comm_(comm), tag_(static_cast<int>(tag)), max_chunk_bytes_(max_chunk_bytes) {
  ORRERY_ASSERT(max_chunk_bytes >= static_cast<int64_t>(sizeof(Envelope)) &&
                    max_chunk_bytes <= std::numeric_limits<int>::max(),
                "an envelope must fit into the first message, a count into an int");
}

FrameSender::~FrameSender() {
  if (outgoing_.empty()) return;
  base::log_warning(base::concat(outgoing_.size(), " control messages were not taken by ranks ",
                                 base::join(late_ranks(), ",")));
  new std::list<Outgoing>(std::move(outgoing_));
}

void FrameSender::send(int rank, std::string frame) {
  Outgoing& outgoing = outgoing_.emplace_back(Outgoing{rank, std::move(frame), {}});
  const std::string& bytes = outgoing.frame;
  for (std::size_t offset = 0; offset < bytes.size();) {
    const std::size_t size =
        std::min(static_cast<std::size_t>(max_chunk_bytes_), bytes.size() - offset);
    MPI_Request request = MPI_REQUEST_NULL;
    ORRERY_MPI(MPI_Isend(bytes.data() + offset, static_cast<int>(size), MPI_BYTE, rank, tag_, comm_,
                         &request));
    outgoing.requests.push_back(request);
    offset += size;
  }
}

void FrameSender::progress() {
  for (auto it = outgoing_.begin(); it != outgoing_.end();) {
    int is_done = 0;
    ORRERY_MPI(MPI_Testall(static_cast<int>(it->requests.size()), it->requests.data(), &is_done,
                           MPI_STATUSES_IGNORE));
    it = is_done != 0 ? outgoing_.erase(it) : std::next(it);
  }
}

std::vector<int> FrameSender::late_ranks() const {
  std::vector<int> ranks;
  for (const Outgoing& outgoing : outgoing_) ranks.push_back(outgoing.rank);
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

FrameReceiver::FrameReceiver(MPI_Comm comm, MessageTag tag)
    : comm_(comm), tag_(static_cast<int>(tag)) {
  int size = 0;
  ORRERY_MPI(MPI_Comm_size(comm, &size));
  pieces_.resize(static_cast<std::size_t>(size));
}

FrameReceiver::~FrameReceiver() {
  if (n_active_ == 0) return;
  new std::vector<std::list<Piece>>(std::move(pieces_));
}

void FrameReceiver::start_arrived() {
  for (int i = 0; i < kMaxMessagesPerPoll; ++i) {
    int has_arrived = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    MPI_Status status;
    ORRERY_MPI(MPI_Improbe(MPI_ANY_SOURCE, tag_, comm_, &has_arrived, &message, &status));
    if (has_arrived == 0) return;
    int size = 0;
    ORRERY_MPI(MPI_Get_count(&status, MPI_BYTE, &size));
    auto& from_rank = pieces_[static_cast<std::size_t>(status.MPI_SOURCE)];
    if (from_rank.empty()) waiting_ranks_.push_back(status.MPI_SOURCE);
    Piece& piece = from_rank.emplace_back();
    piece.bytes.resize(static_cast<std::size_t>(size));
    ORRERY_MPI(MPI_Imrecv(piece.bytes.data(), size, MPI_BYTE, &message, &piece.request));
    ++n_active_;
  }
}

std::optional<FrameReceiver::Arrived> FrameReceiver::take(int rank) {
  std::list<Piece>& pieces = pieces_[base::index(rank)];
  for (Piece& piece : pieces) {
    if (piece.request == MPI_REQUEST_NULL) continue;
    int is_done = 0;
    ORRERY_MPI(MPI_Test(&piece.request, &is_done, MPI_STATUS_IGNORE));
    if (is_done != 0) --n_active_;
  }
  if (pieces.front().request != MPI_REQUEST_NULL) return std::nullopt;

  const Envelope envelope = read_envelope(pieces.front().bytes);
  const uint64_t total = sizeof(Envelope) + envelope.body_bytes;
  uint64_t arrived = 0;
  auto end = pieces.begin();
  while (end != pieces.end() && arrived < total) {
    if (end->request != MPI_REQUEST_NULL) return std::nullopt;
    arrived += end->bytes.size();
    ++end;
  }
  if (arrived < total) return std::nullopt;

  Arrived frame{.rank = rank, .bytes = std::move(pieces.front().bytes)};
  for (auto it = std::next(pieces.begin()); it != end; ++it) frame.bytes += it->bytes;
  pieces.erase(pieces.begin(), end);
  return frame;
}

std::optional<FrameReceiver::Arrived> FrameReceiver::poll() {
  start_arrived();
  for (std::size_t i = 0; i < waiting_ranks_.size(); ++i) {
    const int rank = waiting_ranks_[i];
    std::optional<Arrived> frame = take(rank);
    if (!frame) continue;
    // To the back, so that every rank has its turn.
    waiting_ranks_.erase(waiting_ranks_.begin() + static_cast<std::ptrdiff_t>(i));
    if (!pieces_[base::index(rank)].empty()) waiting_ranks_.push_back(rank);
    return frame;
  }
  return std::nullopt;
}

}  // namespace orrery::comm
