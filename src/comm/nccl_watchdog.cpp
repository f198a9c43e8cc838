#include "nccl_watchdog.h"

#include <utility>

#include "orrery/base/text.h"
#include "orrery/comm/backoff.h"

namespace orrery::comm {

namespace {

/// Between two looks at what is under way: nothing beside a deadline, and rare enough to cost
/// nothing beside the operations of a decoding step.
constexpr std::chrono::milliseconds kInterval{10};

/// For a call of NCCL to return. Longer than any takes that can.
constexpr std::chrono::seconds kCallLimit{5};

std::string nccl_text(ncclResult_t state) {
  return base::concat("NCCL reports: ", ncclGetErrorString(state));
}

UniqueCudaEvent new_event() {
  cudaEvent_t event = nullptr;
  ORRERY_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return UniqueCudaEvent(event);
}

}  // namespace

NcclWatchdog::NcclWatchdog(UniqueNcclComm comm, int device, Errors errors, Activity* activity,
                           std::string group)
    : device_(device),
      errors_(std::move(errors)),
      activity_(activity),
      group_(std::move(group)),
      comm_(std::move(comm)),
      thread_([this](std::stop_token stop) { watch_all(std::move(stop)); }) {}

/// Under calls_.
ncclResult_t NcclWatchdog::state_of_comm() const {
  if (!comm_) return ncclInProgress;  // whoever took it has said why
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_.get(), &state);
  return asked == ncclSuccess ? state : asked;
}

void NcclWatchdog::wait_until_accepted(const Operation& operation) {
  const Clock::time_point start = Clock::now();
  const auto ask = [this] {
    const std::lock_guard calls(calls_);
    return state_of_comm();
  };
  for (Backoff backoff(Backoff::kForCollectives);; backoff.pause()) {
    throw_if_failed();
    const ncclResult_t state = ask();
    if (state == ncclSuccess) return;
    if (state != ncclInProgress) {
      fail(errors_.failure(operation, nccl_text(state)));
    } else if (Clock::now() - start >= operation.deadline) {
      fail(errors_.deadline(operation, start));
    }
  }
}

UniqueCudaEvent NcclWatchdog::event_on(cudaStream_t stream) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  ORRERY_CUDA(cudaStreamIsCapturing(stream, &capture));
  if (capture != cudaStreamCaptureStatusNone) return UniqueCudaEvent();
  UniqueCudaEvent event;
  {
    const Lock lock(mutex_);
    if (!spare_.empty()) {
      event = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  if (!event) event = new_event();
  ORRERY_CUDA(cudaEventRecord(event.get(), stream));
  return event;
}

void NcclWatchdog::watch(Operation operation, UniqueCudaEvent begin, cudaStream_t stream) {
  UniqueCudaEvent end = event_on(stream);
  if (!end) return;
  const auto since = begin ? std::nullopt : std::optional(Clock::now());
  const Lock lock(mutex_);
  under_way_.push_back({std::move(operation), std::move(begin), std::move(end), since});
  if (under_way_.size() == 1) wake_.notify_one();
}

void NcclWatchdog::throw_if_failed() const {
  const Lock lock(mutex_);
  if (failure_) throw CommError(*failure_);
}

void NcclWatchdog::watch_all(std::stop_token stop) {
  std::optional<Activity::Waiting> told;
  // Else the thread's first call would make a context on the first GPU.
  cudaError_t ready = cudaSetDevice(device_);
  // Else a capture on another thread would refuse its questions, and be spoilt by them.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  if (ready == cudaSuccess) ready = cudaThreadExchangeStreamCaptureMode(&mode);
  if (ready != cudaSuccess) return lose_device({.name = "watching", .workers = {}}, ready);
  Lock lock(mutex_);
  while (wake_.wait(lock, stop, [this] { return !under_way_.empty(); })) {
    wake_.wait_for(lock, stop, kInterval, [] { return false; });
    if (stop.stop_requested()) return;
    drop_finished(lock, told);
    const bool is_under_way = !failure_ && !under_way_.empty() && has_begun(lock);
    if (is_under_way) check_deadline(lock);
    if (failure_) return;
    if (is_under_way && !told) {
      const Operation& first = under_way_.front().operation;
      told.emplace(activity_, first.name, group_, first.workers);
    }
  }
}

/// Unlocks while it asks: no other thread takes out what it looks at.
void NcclWatchdog::drop_finished(Lock& lock, std::optional<Activity::Waiting>& told) {
  while (!under_way_.empty() && !failure_) {
    UnderWay& first = under_way_.front();
    lock.unlock();
    const cudaError_t state = cudaEventQuery(first.end.get());
    if (state != cudaSuccess && state != cudaErrorNotReady) lose_device(first.operation, state);
    ask_nccl(first.operation);  // also of one that has ended
    lock.lock();
    if (state != cudaSuccess || failure_) return;
    told.reset();
    for (UniqueCudaEvent* event : {&first.begin, &first.end}) {
      if (*event) spare_.push_back(std::move(*event));
    }
    under_way_.pop_front();
    if (!under_way_.empty() && under_way_.front().since) under_way_.front().since = Clock::now();
  }
}

/// Whether nothing is before the first one on its stream: until then it waits for other groups'
/// operations there, for whose peers it must not be blamed. Unlocks while it asks, as above.
bool NcclWatchdog::has_begun(Lock& lock) {
  UnderWay& first = under_way_.front();
  if (first.since) return true;
  lock.unlock();
  const cudaError_t state = cudaEventQuery(first.begin.get());
  if (state != cudaSuccess && state != cudaErrorNotReady) lose_device(first.operation, state);
  lock.lock();
  if (state == cudaSuccess) first.since = Clock::now();
  return state == cudaSuccess;
}

/// Not while another thread is in a call, after which that thread asks.
void NcclWatchdog::ask_nccl(const Operation& operation) {
  ncclResult_t state = ncclSuccess;
  if (const std::unique_lock calls(calls_, std::try_to_lock); calls) state = state_of_comm();
  if (state == ncclSuccess || state == ncclInProgress) return;
  fail(errors_.failure(operation, nccl_text(state)));
}

void NcclWatchdog::check_deadline(Lock& lock) {
  const UnderWay& first = under_way_.front();
  if (Clock::now() - *first.since < first.operation.deadline) return;
  lock.unlock();
  fail(errors_.deadline(first.operation, *first.since));
  lock.lock();
}

/// Waits for the end of the call that another thread may be in, if it has one: a launch into a
/// stream that is full returns only when the kernels there end, which is what this is for.
ncclComm_t NcclWatchdog::take_comm() {
  const std::unique_lock calls(calls_, kCallLimit);
  return comm_.release();
}

/// The reason is there before the kernels end: whom that wakes can see it.
void NcclWatchdog::fail(CommError error) {
  {
    const Lock lock(mutex_);
    if (failure_) return;
    failure_ = std::move(error);
  }
  abort(take_comm());
}

/// Once, for who has come first with a reason.
void NcclWatchdog::abort(ncclComm_t comm) {
  abort_ = std::jthread([comm, device = device_] {
    cudaSetDevice(device);  // else a context on the first GPU
    ncclCommAbort(comm);
  });
}

/// To end kernels there could take for ever: the communicator is given up as it is.
void NcclWatchdog::lose_device(const Operation& operation, cudaError_t error) {
  {
    const Lock lock(mutex_);
    if (!failure_) failure_ = errors_.failure(operation, cudaGetErrorString(error));
  }
  static_cast<void>(take_comm());
}

}  // namespace orrery::comm
