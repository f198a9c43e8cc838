// One rank's end of a NCCL communicator: its state as NCCL reports it, and what ranks ask for.
// Everything here is used under lock_of_streams().
#pragma once

#include <nccl.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "mailbox.h"
#include "streams.h"

namespace orrery::simulated_gpu {

/// What one rank asks for. All ranks of a collective must ask for the same.
struct Call {
  enum Kind : int32_t { kAllReduce, kAllGather, kReduceScatter, kBroadcast, kSend, kReceive };
  Kind kind = kAllReduce;
  ncclDataType_t type = ncclUint8;
  ncclRedOp_t op = ncclSum;
  int32_t root = -1;  // of a broadcast; the peer of a message
  uint64_t count = 0;

  bool operator==(const Call&) const = default;
  bool is_message() const { return kind == kSend || kind == kReceive; }
  std::size_t bytes() const;                    // of `count` elements
  std::size_t input_bytes(int n_ranks) const;   // that a rank reads
  std::size_t output_bytes(int n_ranks) const;  // that a rank writes
  std::string name() const;                     // `all-reduce`
  std::string text() const;                     // with its arguments
};

/// A split that waits for the other ranks.
struct PendingSplit {
  std::string name;
  int colour = 0;
  ncclComm_t* result = nullptr;
};

}  // namespace orrery::simulated_gpu

struct ncclComm {
  ncclComm(orrery::simulated_gpu::Mailbox its_box, int its_rank, int its_size, int its_device);

  /// Breaks a rule in the name of this rank; the group is of no use afterwards.
  ncclResult_t refuse(const std::string& what);
  /// Leaves a note for all ranks and is in progress until each has left the same.
  void meet(std::string name, const std::string& note);
  /// What ncclCommGetAsyncError says; looks whether what is awaited is there.
  ncclResult_t poll();
  bool is_dead() const { return end == "aborted" || state == ncclInvalidUsage; }
  std::string text() const;  // `rank 1 of 4 of world`

  orrery::simulated_gpu::Mailbox box;
  int rank = 0, size = 1, device = 0;
  ncclResult_t state = ncclInProgress;
  std::string end = {};           // `aborted`, `destroyed`, `finalized`; empty: of use
  int polls_left = 1;             // it says "in progress" so often though it is done
  std::string meeting = {};       // the note that all ranks leave
  bool is_in_call_group = false;  // between ncclGroupStart and ncclGroupEnd
  std::optional<orrery::simulated_gpu::PendingSplit> split;

  uint64_t n_started = 0, n_finished = 0, n_splits = 0;  // collectives, splits
  int64_t n_under_way = 0;                               // operations that have not ended
  int64_t n_captured = 0;                                // of graphs that live
  std::map<int, uint64_t> n_sent, n_received;            // messages, by peer
  orrery::simulated_gpu::Stream last_stream = -1;
  std::map<uint64_t, std::string> waiting;  // operations for whom a peer is missing

 private:
  bool all_have_met();
  void finish_split();
};

namespace orrery::simulated_gpu {

/// Communicators live until the program ends, so that one is known after its end. Null: no handle.
ncclComm_t keep(std::unique_ptr<ncclComm> comm);
ncclComm_t find(ncclComm_t handle);

}  // namespace orrery::simulated_gpu
