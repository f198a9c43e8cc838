#include "nccl_operation.h"

#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "memory.h"
#include "nccl_reduce.h"
#include "rules.h"

namespace orrery::simulated_gpu {

namespace {

/// How long a peer may be missing before it is named. Longer than the deadlines of tests.
std::chrono::duration<double> patience() {
  const char* const text = std::getenv("SIMULATED_NCCL_PATIENCE");
  return std::chrono::duration<double>(text == nullptr ? 20 : std::atof(text));
}

std::string with_call(const Call& call, const char* bytes, std::size_t n) {
  std::string note(sizeof call + n, '\0');
  std::memcpy(note.data(), &call, sizeof call);
  if (n > 0) std::memcpy(note.data() + sizeof call, bytes, n);
  return note;
}

Call call_of(const std::string& note) {
  Call call;
  if (note.size() >= sizeof call) std::memcpy(&call, note.data(), sizeof call);
  return call;
}

}  // namespace

Operation::Operation(ncclComm_t comm, const Call& call, const void* from, void* to)
    : comm_(comm),
      call_(call),
      from_(static_cast<const char*>(view(from))),
      to_(static_cast<char*>(view(to))),
      number_(call.kind == Call::kSend      ? comm->n_sent[call.root]++
              : call.kind == Call::kReceive ? comm->n_received[call.root]++
                                            : comm->n_started++) {
  ++comm->n_under_way;
}

std::string Operation::note_of(uint64_t number, int rank) const {
  return "call" + std::to_string(number) + "." + std::to_string(rank);
}

std::string Operation::message_name(int source, int destination) const {
  return "message" + std::to_string(source) + "-" + std::to_string(destination) + "." +
         std::to_string(number_);
}

/// What others leave when they wait for this: for what `rank` gives to this operation.
std::string Operation::wish_for(int rank) const {
  if (call_.kind == Call::kSend) return message_name(rank, call_.root) + ".wish";
  if (call_.kind == Call::kReceive) return message_name(rank, comm_->rank) + ".wish";
  return note_of(number_, rank) + ".wish";
}

bool Operation::is_wanted() const {
  return comm_->end == "finalized" ||
         (call_.kind != Call::kReceive && comm_->box.has(wish_for(comm_->rank)));
}

bool Operation::advance() {
  if (is_done_ || comm_->is_dead()) return true;  // the kernels of an aborted group end
  const bool is_its_turn = call_.is_message() || comm_->n_finished == number_;
  if (is_its_turn && !has_left_input_) leave_input();
  is_done_ = is_its_turn && (call_.is_message() ? receive() : combine());
  if (is_done_) {
    --comm_->n_under_way;
    comm_->waiting.erase(number_);
    if (call_.kind != Call::kReceive) comm_->box.remove(wish_for(comm_->rank));
    if (!call_.is_message()) ++comm_->n_finished;
  }
  return is_done_;
}

void Operation::leave_input() {
  has_left_input_ = true;
  if (call_.kind == Call::kReceive) return;
  const bool has_none = call_.kind == Call::kBroadcast && comm_->rank != call_.root;
  comm_->box.put(call_.kind == Call::kSend ? message_name(comm_->rank, call_.root)
                                           : note_of(number_, comm_->rank),
                 with_call(call_, from_, has_none ? 0 : call_.input_bytes(comm_->size)));
}

void Operation::wait_for_peer(int peer) {
  const auto now = std::chrono::steady_clock::now();
  if (waits_since_ == std::chrono::steady_clock::time_point()) waits_since_ = now;
  if (std::exchange(asked_, peer) != peer) comm_->box.put(wish_for(peer), "");
  comm_->waiting[number_] = call_.text() + " waits for rank " + std::to_string(peer);
  if (is_named_ || now - waits_since_ < patience()) return;
  is_named_ = true;
  break_rule(comm_->text() + ": " + comm_->waiting[number_] + ", which does not come");
}

bool Operation::agrees_with(int peer, const Call& there, bool is_same) {
  if (!is_same) {
    comm_->refuse("operation " + std::to_string(number_) + " is " + call_.text() + " here and " +
                  there.text() + " on rank " + std::to_string(peer));
  }
  return is_same;
}

bool Operation::receive() {
  if (call_.kind == Call::kSend) return true;
  const std::string name = message_name(call_.root, comm_->rank);
  if (!comm_->box.has(name)) {
    wait_for_peer(call_.root);
    return false;
  }
  const std::string note = comm_->box.get(name);
  comm_->box.remove(name);
  const Call there = call_of(note);
  if (agrees_with(call_.root, there, there.bytes() == call_.bytes()) && call_.bytes() > 0) {
    std::memcpy(to_, note.data() + sizeof(Call), call_.bytes());
  }
  return true;
}

bool Operation::combine() {
  for (int r = 0; r < comm_->size; ++r) {
    if (comm_->box.has(note_of(number_, r))) continue;
    wait_for_peer(r);
    return false;
  }
  const std::size_t bytes = call_.bytes();
  for (int r = 0; r < comm_->size; ++r) {
    const std::string note = comm_->box.get(note_of(number_, r));
    const Call there = call_of(note);
    if (!agrees_with(r, there, there == call_)) return true;
    const char* input = note.data() + sizeof(Call);
    if (call_.kind == Call::kAllGather) {
      std::memcpy(to_ + bytes * static_cast<std::size_t>(r), input, bytes);
    } else if (call_.kind == Call::kBroadcast) {
      if (r == call_.root) std::memcpy(to_, input, bytes);
    } else {
      if (call_.kind == Call::kReduceScatter) {
        input += bytes * static_cast<std::size_t>(comm_->rank);
      }
      if (r == 0) {
        std::memcpy(to_, input, bytes);
      } else {
        reduce(to_, input, call_.count, call_.type, call_.op);
      }
    }
  }
  // All have read the notes of the operation before this one: they have left those of this one.
  if (number_ > 0) comm_->box.remove(note_of(number_ - 1, comm_->rank));
  return true;
}

}  // namespace orrery::simulated_gpu
