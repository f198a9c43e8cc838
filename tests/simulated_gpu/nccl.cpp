// libnccl.so.2 of the simulated GPUs: the functions of NCCL that this program calls, and no others.
// Ranks are processes or threads of one machine. What NCCL answers with a hang, with wrong numbers
// or by luck is refused here, with a line that says which rule it broke.
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "memory.h"
#include "nccl_group.h"
#include "nccl_operation.h"
#include "nccl_progress.h"
#include "nccl_reduce.h"
#include "rules.h"
#include "streams.h"

namespace orrery::simulated_gpu {

namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

struct Asked {
  ncclComm_t comm = nullptr;
  Call call = {};
  const void* from = nullptr;
  void* to = nullptr;
  Stream stream = 0;
};

// Of the calling thread, between ncclGroupStart and ncclGroupEnd.
thread_local int depth_of_groups = 0;
thread_local std::vector<Asked> asked_in_group;

ncclResult_t refuse_unknown(const std::string& what) {
  break_rule("NCCL: " + what);
  return ncclInvalidArgument;
}

/// The communicator, or null with a broken rule that says why it is of no use.
ncclComm_t usable(ncclComm_t handle, const std::string& what) {
  const ncclComm_t comm = find(handle);
  if (comm == nullptr) {
    refuse_unknown(what + " with a handle that is no communicator");
  } else if (!comm->end.empty()) {
    break_rule(comm->text() + ": " + what + " after it was " + comm->end);
  } else if (comm->state == ncclInProgress && !comm->is_in_call_group) {
    comm->refuse(what + " before ncclCommGetAsyncError has said that the last call is done");
  } else if (comm->state != ncclInvalidUsage) {
    return comm;
  }
  return nullptr;
}

bool is_memory_of(int device, const void* memory, std::size_t size_bytes) {
  const auto block = block_at(memory);
  return size_bytes == 0 || (block && block->device == device && room_at(memory) >= size_bytes);
}

/// Two blocks that overlap though the one is not the rank's own place in the other.
bool overlaps_wrongly(const char* whole, std::size_t whole_bytes, const char* own,
                      std::size_t own_bytes, int rank) {
  if (own_bytes == 0 || own == whole + own_bytes * static_cast<std::size_t>(rank)) return false;
  return own < whole + whole_bytes && whole < own + own_bytes;
}

/// Why these arguments cannot be; empty: they can.
std::string problem_of(const Asked& asked) {
  const ncclComm& comm = *asked.comm;
  const Call& call = asked.call;
  const bool has_peer = call.is_message() || call.kind == Call::kBroadcast;
  const std::size_t in = call.input_bytes(comm.size), out = call.output_bytes(comm.size);
  const auto* const from = static_cast<const char*>(asked.from);
  const auto* const to = static_cast<const char*>(asked.to);
  if (size_of_element(call.type) == 0) return "a type that is not simulated";
  if (!is_simulated(call.op)) return "a reduction that is not simulated";
  if (has_peer && (call.root < 0 || call.root >= comm.size)) return "a rank that does not exist";
  if (call.is_message() && call.root == comm.rank && depth_of_groups == 0) {
    return "a message to oneself outside a group waits for ever";
  }
  if (device_of(asked.stream) != comm.device) return "a stream of another GPU";
  if (!is_memory_of(comm.device, from, in))
    return "an input that is no memory of this GPU and size";
  if (!is_memory_of(comm.device, to, out))
    return "an output that is no memory of this GPU and size";
  const bool is_gather = call.kind == Call::kAllGather;
  if ((is_gather && overlaps_wrongly(to, out, from, in, comm.rank)) ||
      (call.kind == Call::kReduceScatter && overlaps_wrongly(from, in, to, out, comm.rank))) {
    return "input and output overlap, and the one is not this rank's place in the other";
  }
  return {};
}

/// As NCCL does: on whatever streams, the operations of one communicator run one after the other.
void order_behind_last(ncclComm& comm, Stream stream) {
  const Stream last = std::exchange(comm.last_stream, stream);
  if (last < 0 || last == stream || is_capturing(last) || is_capturing(stream)) return;
  const Event event = new_event();
  record(event, last);
  wait_for(stream, event);
  destroy_event(event);
}

/// An operation that a graph holds: the communicator cannot go before it.
class Captured {
 public:
  explicit Captured(ncclComm_t comm) : comm_(comm) { ++comm_->n_captured; }
  ~Captured() { --comm_->n_captured; }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;

 private:
  ncclComm_t comm_;
};

/// Calls that were made together, one task on each stream: none of them waits for another's end.
void enqueue_calls(const std::vector<Asked>& calls) {
  std::map<Stream, std::vector<Asked>> by_stream;
  for (const Asked& asked : calls) by_stream[asked.stream].push_back(asked);
  for (const auto& [stream, own] : by_stream) {
    std::vector<std::shared_ptr<Captured>> captured;
    for (const Asked& asked : own) {
      order_behind_last(*asked.comm, stream);
      if (is_capturing(stream)) captured.push_back(std::make_shared<Captured>(asked.comm));
    }
    enqueue_each(stream, "nccl", [own = own, captured](Stream on) -> Work {
      auto running = std::make_shared<CallsUnderWay>();
      running->stream = on;
      for (const Asked& asked : own) {
        running->operations.emplace_back(asked.comm, asked.call, asked.from, asked.to);
      }
      run_for_others(running);
      return [running] { return running->advance(); };
    });
  }
}

ncclResult_t ask(ncclComm_t handle, const Call& call, const void* from, void* to,
                 cudaStream_t stream) {
  const Lock lock(lock_of_streams());
  const ncclComm_t comm = usable(handle, call.name());
  if (comm == nullptr) return ncclInvalidUsage;
  const Asked asked{comm, call, from, to, stream_of_handle(stream, comm->device)};
  if (const std::string problem = problem_of(asked); !problem.empty()) {
    return comm->refuse(call.text() + ": " + problem);
  }
  comm->state = ncclInProgress;
  comm->polls_left = 1;
  if (depth_of_groups > 0) {
    comm->is_in_call_group = true;
    asked_in_group.push_back(asked);
    return ncclSuccess;
  }
  enqueue_calls({asked});
  return ncclInProgress;
}

bool is_simulated(const ncclConfig_t* config) {
  return config != nullptr && config->size == sizeof *config && config->blocking == 0;
}

ncclResult_t end(ncclComm_t handle, const char* how) {
  const Lock lock(lock_of_streams());
  const ncclComm_t comm = find(handle);
  if (comm == nullptr) return refuse_unknown("a handle that is no communicator cannot end");
  if (!comm->end.empty() && comm->end != "finalized") {
    break_rule(comm->text() + ": " + how + " after it was " + comm->end);
    return ncclInvalidUsage;
  }
  for (const auto& [number, text] : comm->waiting) {
    std::fprintf(stderr, "simulated GPU: %s is %s while %s\n", comm->text().c_str(), how,
                 text.c_str());
  }
  comm->end = how;
  return ncclSuccess;
}

/// As NCCL does: what runs is ended at once, but the call returns when no graph is left that holds
/// operations of the communicator. Here it is named if that takes long.
ncclResult_t end_behind_graphs(ncclComm_t handle, const char* how) {
  const ncclResult_t result = end(handle, how);
  const auto is_held = [handle] {
    const Lock lock(lock_of_streams());
    return handle->n_captured > 0;
  };
  if (result != ncclSuccess) return result;
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (is_held()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (std::chrono::steady_clock::now() < limit) continue;
    break_rule(handle->text() + ": it is " + how + " while graphs hold its operations");
    break;
  }
  return result;
}

}  // namespace

extern "C" {

const char* ncclGetErrorString(ncclResult_t result) {
  if (result == ncclSuccess) return "no error";
  return result == ncclInProgress ? "in progress" : "invalid usage: see the broken rule above";
}

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::string folder = Mailbox::new_folder();
  std::memset(id, 0, sizeof *id);
  folder.copy(id->internal, sizeof id->internal - 1);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int n_ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  int device = 0;
  if (!is_simulated(config) || rank < 0 || rank >= n_ranks || cudaGetDevice(&device) != 0) {
    return refuse_unknown(
        "ncclCommInitRankConfig needs a rank of the group and a config that is "
        "not blocking: others are not simulated");
  }
  const Lock lock(lock_of_streams());
  *comm = keep(std::make_unique<ncclComm>(Mailbox(id.internal), rank, n_ranks, device));
  return ncclInProgress;
}

ncclResult_t ncclCommSplit(ncclComm_t handle, int colour, int key, ncclComm_t* result,
                           ncclConfig_t* config) {
  const Lock lock(lock_of_streams());
  *result = nullptr;
  const ncclComm_t comm = usable(handle, "a split");
  if (comm == nullptr) return ncclInvalidUsage;
  if (!is_simulated(config) || depth_of_groups > 0) {
    return comm->refuse("a split that is blocking or inside a group is not simulated");
  }
  const std::string name = "split" + std::to_string(comm->n_splits++);
  comm->split = {.name = name, .colour = colour, .result = result};
  comm->meet(name, std::to_string(colour) + " " + std::to_string(key));
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t handle, ncclResult_t* state) {
  const Lock lock(lock_of_streams());
  const ncclComm_t comm = find(handle);
  if (comm == nullptr || (!comm->end.empty() && comm->end != "finalized")) {
    return refuse_unknown("ncclCommGetAsyncError of a communicator that has ended");
  }
  *state = comm->poll();
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t handle) {
  const Lock lock(lock_of_streams());
  const ncclComm_t comm = usable(handle, "ncclCommFinalize");
  if (comm == nullptr) return ncclInvalidUsage;
  comm->end = "finalized";
  comm->meet("bye", "");
  return ncclInProgress;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) { return end_behind_graphs(comm, "destroyed"); }
ncclResult_t ncclCommAbort(ncclComm_t comm) { return end_behind_graphs(comm, "aborted"); }

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  return ask(comm, {.kind = Call::kAllReduce, .type = type, .op = op, .count = count}, from, to,
             stream);
}
ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  return ask(comm, {.kind = Call::kAllGather, .type = type, .count = count}, from, to, stream);
}
ncclResult_t ncclReduceScatter(const void* from, void* to, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  return ask(comm, {.kind = Call::kReduceScatter, .type = type, .op = op, .count = count}, from, to,
             stream);
}
ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  return ask(comm, {.kind = Call::kBroadcast, .type = type, .root = root, .count = count}, from, to,
             stream);
}
ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  return ask(comm, {.kind = Call::kSend, .type = type, .root = peer, .count = count}, from, nullptr,
             stream);
}
ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  return ask(comm, {.kind = Call::kReceive, .type = type, .root = peer, .count = count}, nullptr,
             to, stream);
}

ncclResult_t ncclGroupStart() {
  ++depth_of_groups;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (depth_of_groups == 0) return refuse_unknown("ncclGroupEnd without ncclGroupStart");
  if (--depth_of_groups > 0) return ncclSuccess;
  const std::vector<Asked> calls = std::exchange(asked_in_group, {});
  const Lock lock(lock_of_streams());
  for (const Asked& asked : calls) asked.comm->is_in_call_group = false;
  enqueue_calls(calls);
  return calls.empty() ? ncclSuccess : ncclInProgress;
}

}  // extern "C"

}  // namespace orrery::simulated_gpu
