#include "orrery/comm/nccl_communicator.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <dlfcn.h>  // dlopen: LibTorch's CUDA operators

#include <algorithm>
#include <cstring>  // memcpy
#include <utility>

#include "nccl_check.h"
#include "nccl_watchdog.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "tensor_text.h"

namespace orrery::comm {

namespace {

ncclConfig_t group_config() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.splitShare = 1;  // groups of one split share connections and memory
  return config;
}

struct NcclReduction {
  ncclDataType_t type;
  ncclRedOp_t op;
};

class NcclCommunicator final : public Communicator {
 public:
  NcclCommunicator(UniqueNcclComm comm, int device, std::string name, int rank,
                   std::vector<int> workers, const CommunicatorOptions& options)
      : Communicator(std::move(name), rank, std::move(workers), options),
        device_(device),
        watchdog_(
            std::move(comm), device,
            {.deadline =
                 [this](const Operation& o, Activity::Clock::time_point since) {
                   return deadline_error(o.name, o.workers, o.deadline, since);
                 },
             .failure = [this](const Operation& o,
                               std::string_view what) { return failure_error(o.name, what); }},
            options.activity, this->name()) {}

  at::DeviceType device_type() const override { return at::kCUDA; }

  void throw_if_failed() override {
    try {
      watchdog_.throw_if_failed();
    } catch (const CommError&) {
      mark_broken();
      throw;
    }
  }

  void watch(std::string_view operation) override {
    watchdog_.watch(with_all(operation), UniqueCudaEvent(), stream());
  }

  /// Waits until a group that was just made is usable.
  void wait_until_made(std::string_view operation) {
    watchdog_.wait_until_accepted(with_all(operation));
  }

 private:
  using Operation = NcclWatchdog::Operation;

  cudaStream_t stream() const {
    return c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_)).stream();
  }

  Operation with_all(std::string_view operation) const {
    return {operation, other_workers(), options().deadline};
  }

  /// Enqueues by `enqueue(ncclComm_t, cudaStream_t)`.
  template <class Enqueue>
  void run(Operation operation, const Enqueue& enqueue) {
    const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device_));
    const cudaStream_t on = stream();
    UniqueCudaEvent begin = watchdog_.event_on(on);
    watchdog_.run(operation, [&](ncclComm_t comm) { enqueue(comm, on); });
    watchdog_.watch(std::move(operation), std::move(begin), on);
  }
  template <class Enqueue>
  void run(std::string_view operation, const Enqueue& enqueue) {
    run(with_all(operation), enqueue);
  }

  NcclReduction reduction(const at::Tensor& x, ReduceOp op) const {
    ncclRedOp_t nccl_op = op == ReduceOp::kSum ? ncclSum : op == ReduceOp::kMin ? ncclMin : ncclMax;
    switch (x.scalar_type()) {
      case at::kBool:
        return {ncclUint8, op == ReduceOp::kSum ? ncclMax : nccl_op};
      case at::kByte:
        return {ncclUint8, nccl_op};
      case at::kChar:
        return {ncclInt8, nccl_op};
      case at::kInt:
        return {ncclInt32, nccl_op};
      case at::kLong:
        return {ncclInt64, nccl_op};
      case at::kHalf:
        return {ncclFloat16, nccl_op};
      case at::kBFloat16:
        return {ncclBfloat16, nccl_op};
      case at::kFloat:
        return {ncclFloat32, nccl_op};
      case at::kDouble:
        return {ncclFloat64, nccl_op};
      default:
        break;
    }
    throw ShapeError(base::concat("reduction on ", text()),
                     {.expected = "a type that NCCL can reduce",
                      .got = std::string(type_name(x.scalar_type())),
                      .advice = "convert the tensor to int32 first"});
  }

  void do_all_reduce(at::Tensor& x, ReduceOp op) override {
    const NcclReduction r = reduction(x, op);
    run("all_reduce", [&](ncclComm_t comm, cudaStream_t on) {
      ORRERY_NCCL(ncclAllReduce(x.data_ptr(), x.data_ptr(), static_cast<std::size_t>(x.numel()),
                                r.type, r.op, comm, on));
    });
  }

  void do_all_gather(at::Tensor& out, const at::Tensor& in) override {
    run("all_gather", [&](ncclComm_t comm, cudaStream_t on) {
      ORRERY_NCCL(ncclAllGather(in.data_ptr(), out.data_ptr(), in.nbytes(), ncclUint8, comm, on));
    });
  }

  void do_reduce_scatter(at::Tensor& out, const at::Tensor& in, ReduceOp op) override {
    const NcclReduction r = reduction(in, op);
    run("reduce_scatter", [&](ncclComm_t comm, cudaStream_t on) {
      ORRERY_NCCL(ncclReduceScatter(in.data_ptr(), out.data_ptr(),
                                    static_cast<std::size_t>(out.numel()), r.type, r.op, comm, on));
    });
  }

  void do_broadcast(at::Tensor& x, int root) override {
    run("broadcast", [&](ncclComm_t comm, cudaStream_t on) {
      ORRERY_NCCL(ncclBroadcast(x.data_ptr(), x.data_ptr(), x.nbytes(), ncclUint8, root, comm, on));
    });
  }

  void do_gather(at::Tensor& out, const at::Tensor& in, int root) override {
    run("gather", [&](ncclComm_t comm, cudaStream_t on) {
      ORRERY_NCCL(ncclGroupStart());
      ORRERY_NCCL(ncclSend(in.data_ptr(), in.nbytes(), ncclUint8, root, comm, on));
      for (int r = 0; rank() == root && r < size(); ++r) {
        ORRERY_NCCL(ncclRecv(block_of(out, in.nbytes(), r), in.nbytes(), ncclUint8, r, comm, on));
      }
      ORRERY_NCCL(ncclGroupEnd());
    });
  }

  void do_scatter(at::Tensor& out, const at::Tensor& in, int root) override {
    run("scatter", [&](ncclComm_t comm, cudaStream_t on) {
      ORRERY_NCCL(ncclGroupStart());
      for (int r = 0; rank() == root && r < size(); ++r) {
        ORRERY_NCCL(ncclSend(block_of(in, out.nbytes(), r), out.nbytes(), ncclUint8, r, comm, on));
      }
      ORRERY_NCCL(ncclRecv(out.data_ptr(), out.nbytes(), ncclUint8, root, comm, on));
      ORRERY_NCCL(ncclGroupEnd());
    });
  }

  void do_exchange(std::string_view operation, std::span<const Send> sends,
                   std::span<const Receive> receives, const OnReceived& on_received) override {
    Operation exchange{operation, {}, options().deadline};
    for (const Receive& receive : receives) add_peer(exchange.workers, receive.peer);
    for (const Send& send : sends) add_peer(exchange.workers, send.peer);
    run(std::move(exchange), [&](ncclComm_t comm, cudaStream_t on) {
      ORRERY_NCCL(ncclGroupStart());
      for (const Receive& receive : receives) {
        ORRERY_NCCL(ncclRecv(receive.tensor.data_ptr(), receive.tensor.nbytes(), ncclUint8,
                             receive.peer, comm, on));
      }
      for (const Send& send : sends) {
        ORRERY_NCCL(
            ncclSend(send.tensor.data_ptr(), send.tensor.nbytes(), ncclUint8, send.peer, comm, on));
      }
      ORRERY_NCCL(ncclGroupEnd());
    });
    for (std::size_t i = 0; i < receives.size(); ++i) on_received(i);
  }

  void do_barrier() override {
    at::Tensor one =
        at::empty({1}, at::TensorOptions().dtype(at::kByte).device(at::kCUDA, device_)).zero_();
    do_all_reduce(one, ReduceOp::kMax);
    ORRERY_CUDA(cudaStreamSynchronize(stream()));
    throw_if_failed();
  }

  std::unique_ptr<Communicator> do_split(int colour, int key, std::string name) override {
    // Who is where in the new group: the same order as NCCL's, by key, then by rank here.
    const auto options = at::TensorOptions().dtype(at::kLong);
    const at::Tensor mine = at::tensor({int64_t{colour}, int64_t{key}}, options);
    at::Tensor all = at::empty({size(), 2}, options.device(at::kCUDA, device_));
    do_all_gather(all, mine.to(all.device()));
    const at::Tensor table = all.cpu();
    throw_if_failed();
    const int64_t* entries = table.const_data_ptr<int64_t>();
    std::vector<int> members;
    for (int r = 0; r < size(); ++r) {
      if (entries[2 * r] == colour) members.push_back(r);
    }
    std::stable_sort(members.begin(), members.end(),
                     [&](int a, int b) { return entries[2 * a + 1] < entries[2 * b + 1]; });

    ncclConfig_t config = group_config();
    ncclComm_t raw = nullptr;
    const int nccl_colour = colour == kNoColour ? NCCL_SPLIT_NOCOLOR : colour;
    watchdog_.run(with_all("split"), [&](ncclComm_t comm) {
      ORRERY_NCCL(ncclCommSplit(comm, nccl_colour, key, &raw, &config));
    });
    if (colour == kNoColour) return nullptr;

    const auto place = std::find(members.begin(), members.end(), rank());
    std::vector<int> member_workers;
    for (const int r : members) member_workers.push_back(workers()[base::index(r)]);
    auto group = std::make_unique<NcclCommunicator>(UniqueNcclComm(raw), device_, std::move(name),
                                                    static_cast<int>(place - members.begin()),
                                                    std::move(member_workers), this->options());
    group->wait_until_made("split");
    return group;
  }

  void add_peer(std::vector<int>& peers, int rank_of_peer) const {
    const int worker = workers()[base::index(rank_of_peer)];
    const bool is_new = std::find(peers.begin(), peers.end(), worker) == peers.end();
    if (rank_of_peer != rank() && is_new) peers.push_back(worker);
  }

  static std::byte* block_of(const at::Tensor& whole, std::size_t bytes, int index) {
    return static_cast<std::byte*>(whole.data_ptr()) + bytes * static_cast<std::size_t>(index);
  }

  int device_;
  NcclWatchdog watchdog_;  // ends first
};

/// The program does not link libtorch_cuda.so, so that it starts where its CUDA libraries are not
/// (decision 0751); what is on a GPU needs its operators. Loaded once, never unloaded.
void load_cuda_operators() {
  static void* const library = dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL);
  if (library != nullptr) return;
  const char* const reason = dlerror();
  throw CommError(
      "loading LibTorch's CUDA operators",
      {.expected = "libtorch_cuda.so and what it needs",
       .got = reason == nullptr ? "an earlier failure" : reason,
       .advice = "install LibTorch with its CUDA dependencies, or name their folders in "
                 "LD_LIBRARY_PATH"});
}

}  // namespace

void open_gpu(int device) {
  ORRERY_CUDA(cudaSetDevice(device));
  load_cuda_operators();
}

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& bootstrap, std::string name,
                                                     int device) {
  open_gpu(device);
  at::Tensor id_bytes = at::empty({NCCL_UNIQUE_ID_BYTES}, at::kByte);
  ncclUniqueId id;
  if (bootstrap.rank() == 0) {
    ORRERY_NCCL(ncclGetUniqueId(&id));
    std::memcpy(id_bytes.data_ptr(), &id, sizeof(id));
  }
  bootstrap.broadcast(id_bytes, 0);
  std::memcpy(&id, id_bytes.const_data_ptr(), sizeof(id));

  ncclConfig_t config = group_config();
  ncclComm_t raw = nullptr;
  ORRERY_NCCL(ncclCommInitRankConfig(&raw, bootstrap.size(), id, bootstrap.rank(), &config));
  auto group = std::make_unique<NcclCommunicator>(UniqueNcclComm(raw), device, std::move(name),
                                                  bootstrap.rank(), bootstrap.workers(),
                                                  bootstrap.options());
  group->wait_until_made("init");
  return group;
}

}  // namespace orrery::comm
