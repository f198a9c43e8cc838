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
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/comm/backoff.h"
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
        comm_(std::move(comm)),
        device_(device) {
    cudaEvent_t event = nullptr;
    ORRERY_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    done_ = UniqueCudaEvent(event);
  }

  at::DeviceType device_type() const override { return at::kCUDA; }

  /// Waits until a group that was just made is usable.
  void wait_until_made(std::string_view operation) {
    wait_for(operation, [this] { return is_idle(); });
  }

 private:
  cudaStream_t stream() const {
    return c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device_)).stream();
  }

  /// Whether NCCL has nothing left to do on the host; throws what it reports.
  bool is_idle() {
    ncclResult_t state = ncclSuccess;
    ORRERY_NCCL(ncclCommGetAsyncError(comm_.get(), &state));
    if (state != ncclSuccess && state != ncclInProgress) {
      abort();
      throw_failure("nccl", ncclGetErrorString(state));
    }
    return state == ncclSuccess;
  }

  /// Ends the kernels that wait for peers; the group is gone afterwards.
  void abort() { ncclCommAbort(comm_.release()); }

  template <class IsDone>
  void wait_for(std::string_view operation, const IsDone& is_done) {
    const auto start = Activity::Clock::now();
    const auto deadline = deadline_from(start);
    Backoff backoff(Backoff::kForCollectives);
    while (!is_done()) {
      if (Activity::Clock::now() >= deadline) {
        abort();
        throw_deadline(operation, other_ranks(), start);
      }
      backoff.pause();
    }
  }

  /// Enqueues by `enqueue` and waits for the end of the operation on the device.
  template <class Enqueue>
  void run(std::string_view operation, const Enqueue& enqueue) {
    const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device_));
    enqueue();
    wait_for(operation, [this] { return is_idle(); });  // enqueued
    ORRERY_CUDA(cudaEventRecord(done_.get(), stream()));
    wait_for(operation, [this] {
      const cudaError_t state = cudaEventQuery(done_.get());
      if (state == cudaSuccess) return true;
      if (state != cudaErrorNotReady) ORRERY_CUDA(state);
      is_idle();  // throws when a peer or the network is lost
      return false;
    });
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
    run("all_reduce", [&] {
      ORRERY_NCCL(ncclAllReduce(x.data_ptr(), x.data_ptr(), static_cast<std::size_t>(x.numel()),
                                r.type, r.op, comm_.get(), stream()));
    });
  }

  void do_all_gather(at::Tensor& out, const at::Tensor& in) override {
    run("all_gather", [&] {
      ORRERY_NCCL(ncclAllGather(in.data_ptr(), out.data_ptr(), in.nbytes(), ncclUint8, comm_.get(),
                                stream()));
    });
  }

  void do_reduce_scatter(at::Tensor& out, const at::Tensor& in, ReduceOp op) override {
    const NcclReduction r = reduction(in, op);
    run("reduce_scatter", [&] {
      ORRERY_NCCL(ncclReduceScatter(in.data_ptr(), out.data_ptr(),
                                    static_cast<std::size_t>(out.numel()), r.type, r.op,
                                    comm_.get(), stream()));
    });
  }

  void do_broadcast(at::Tensor& x, int root) override {
    run("broadcast", [&] {
      ORRERY_NCCL(ncclBroadcast(x.data_ptr(), x.data_ptr(), x.nbytes(), ncclUint8, root,
                                comm_.get(), stream()));
    });
  }

  void do_gather(at::Tensor& out, const at::Tensor& in, int root) override {
    run("gather", [&] {
      ORRERY_NCCL(ncclGroupStart());
      ORRERY_NCCL(ncclSend(in.data_ptr(), in.nbytes(), ncclUint8, root, comm_.get(), stream()));
      for (int r = 0; rank() == root && r < size(); ++r) {
        ORRERY_NCCL(ncclRecv(block_of(out, in.nbytes(), r), in.nbytes(), ncclUint8, r, comm_.get(),
                             stream()));
      }
      ORRERY_NCCL(ncclGroupEnd());
    });
  }

  void do_scatter(at::Tensor& out, const at::Tensor& in, int root) override {
    run("scatter", [&] {
      ORRERY_NCCL(ncclGroupStart());
      for (int r = 0; rank() == root && r < size(); ++r) {
        ORRERY_NCCL(ncclSend(block_of(in, out.nbytes(), r), out.nbytes(), ncclUint8, r, comm_.get(),
                             stream()));
      }
      ORRERY_NCCL(ncclRecv(out.data_ptr(), out.nbytes(), ncclUint8, root, comm_.get(), stream()));
      ORRERY_NCCL(ncclGroupEnd());
    });
  }

  void do_exchange(std::string_view operation, std::span<const Send> sends,
                   std::span<const Receive> receives, const OnReceived& on_received) override {
    run(operation, [&] {
      ORRERY_NCCL(ncclGroupStart());
      for (const Receive& receive : receives) {
        ORRERY_NCCL(ncclRecv(receive.tensor.data_ptr(), receive.tensor.nbytes(), ncclUint8,
                             receive.peer, comm_.get(), stream()));
      }
      for (const Send& send : sends) {
        ORRERY_NCCL(ncclSend(send.tensor.data_ptr(), send.tensor.nbytes(), ncclUint8, send.peer,
                             comm_.get(), stream()));
      }
      ORRERY_NCCL(ncclGroupEnd());
    });
    for (std::size_t i = 0; i < receives.size(); ++i) on_received(i);
  }

  void do_barrier() override {
    at::Tensor one =
        at::empty({1}, at::TensorOptions().dtype(at::kByte).device(at::kCUDA, device_)).zero_();
    do_all_reduce(one, ReduceOp::kMax);
  }

  std::unique_ptr<Communicator> do_split(int colour, int key, std::string name) override {
    // Who is where in the new group: the same order as NCCL's, by key, then by rank here.
    const auto options = at::TensorOptions().dtype(at::kLong);
    const at::Tensor mine = at::tensor({int64_t{colour}, int64_t{key}}, options);
    at::Tensor all = at::empty({size(), 2}, options.device(at::kCUDA, device_));
    do_all_gather(all, mine.to(all.device()));
    const at::Tensor table = all.cpu();
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
    ORRERY_NCCL(ncclCommSplit(comm_.get(), nccl_colour, key, &raw, &config));
    wait_for("split", [this] { return is_idle(); });
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

  static std::byte* block_of(const at::Tensor& whole, std::size_t bytes, int index) {
    return static_cast<std::byte*>(whole.data_ptr()) + bytes * static_cast<std::size_t>(index);
  }

  UniqueNcclComm comm_;  // released by abort()
  UniqueCudaEvent done_;
  int device_;
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
