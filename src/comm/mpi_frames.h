// Frames over MPI point-to-point messages. A frame becomes one message, or several when it is
// large; all have the same tag, so MPI's non-overtaking rule keeps them in order per pair of ranks,
// and the envelope in the first says how many bytes follow. Neither end ever waits.
#pragma once

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "orrery/comm/serialise.h"

namespace orrery::comm {

/// Seen in traces of MPI.
enum class MessageTag : int { kRequest = 1, kReply = 2 };

/// Sends frames and owns their bytes until they have left. One thread.
class FrameSender {
 public:
  /// `comm` must outlive this; messages are at most `max_chunk_bytes` long (at least an envelope).
  FrameSender(MPI_Comm comm, MessageTag tag, int64_t max_chunk_bytes);
  /// Bytes that have not left yet are never freed, since MPI may still read them.
  ~FrameSender();
  FrameSender(const FrameSender&) = delete;
  FrameSender& operator=(const FrameSender&) = delete;

  /// Starts to send. Throws CommError.
  void send(int rank, std::string frame);
  /// Lets MPI work and frees what has left. Throws CommError.
  void progress();
  int64_t n_unsent() const { return static_cast<int64_t>(outgoing_.size()); }
  /// Ranks that have not taken theirs, ascending.
  std::vector<int> late_ranks() const;

 private:
  struct Outgoing {
    int rank;
    std::string frame;
    std::vector<MPI_Request> requests;
  };

  MPI_Comm comm_;
  int tag_;
  int64_t max_chunk_bytes_;
  std::list<Outgoing> outgoing_;  // elements stay where they are while MPI reads them
};

/// Puts arriving messages together. One thread.
class FrameReceiver {
 public:
  struct Arrived {
    int rank = -1;
    std::string bytes;
  };

  /// From all ranks of `comm`, which must outlive this.
  FrameReceiver(MPI_Comm comm, MessageTag tag);
  /// Waits for nothing; bytes under way are never freed, since MPI may still write them.
  ~FrameReceiver();
  FrameReceiver(const FrameReceiver&) = delete;
  FrameReceiver& operator=(const FrameReceiver&) = delete;

  /// Next whole frame, in sending order per rank; nothing when none is complete.
  /// Throws CommError, ProtocolError (what came is not a frame).
  std::optional<Arrived> poll();
  /// Whether a message has begun to arrive: the next poll() should be soon.
  bool is_receiving() const { return n_active_ > 0; }

 private:
  struct Piece {
    std::string bytes;
    MPI_Request request = MPI_REQUEST_NULL;  // null: arrived
  };

  void start_arrived();
  std::optional<Arrived> take(int rank);

  MPI_Comm comm_;
  int tag_;
  std::vector<std::list<Piece>> pieces_;  // by rank, in sending order
  std::deque<int> waiting_ranks_;         // ranks with pieces, in order of arrival
  int n_active_ = 0;                      // pieces with a request
};

}  // namespace orrery::comm
