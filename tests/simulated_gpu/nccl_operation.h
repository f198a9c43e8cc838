// A call of one rank, while its stream runs it: its input is left for the others when the stream
// gets there, its result is written when theirs have come.
#pragma once

#include <chrono>

#include "nccl_group.h"

namespace orrery::simulated_gpu {

class Operation {
 public:
  /// `from` and `to` as programs see them. Takes its place in the order of the group.
  Operation(ncclComm_t comm, const Call& call, const void* from, void* to);

  /// True: done. False: a peer must act first; one that lets it wait for long is named.
  bool advance();
  /// A rank waits that needs what this one gives, or this one's group is to end.
  bool is_wanted() const;

 private:
  std::string wish_for(int rank) const;
  std::string note_of(uint64_t number, int rank) const;
  std::string message_name(int source, int destination) const;
  void leave_input();
  bool receive();
  bool combine();
  bool agrees_with(int peer, const Call& there, bool is_same);
  void wait_for_peer(int peer);

  ncclComm_t comm_;
  Call call_;
  const char* from_;
  char* to_;
  uint64_t number_ = 0;
  bool has_left_input_ = false, is_done_ = false, is_named_ = false;
  int asked_ = -1;  // the rank that was last asked for what it gives
  std::chrono::steady_clock::time_point waits_since_ = {};
};

}  // namespace orrery::simulated_gpu
