// The GPU that is checked: what it says of itself, memory filled with a pattern, and how long work
// on it takes. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "orrery/kernels/gpu.h"

namespace orrery::gpu_check {

struct DeviceFacts {
  std::string name;
  bool is_simulated = false;  ///< tests/simulated_gpu: its times mean nothing
  int n_gpus = 0, compute_major = 0, compute_minor = 0, n_multiprocessors = 0;
  int64_t memory_bytes = 0, l2_bytes = 0;
  int clock_khz = 0, memory_clock_khz = 0, memory_bus_bits = 0;  ///< 0: not told
  int driver_version = 0, runtime_version = 0;                   ///< CUDA's: 1000 major + 10 minor
};
/// Of the device in use. Throws CallError.
DeviceFacts device_facts(int device);

/// Bytes of the device in use that anybody has taken. Throws CallError.
int64_t bytes_taken();

/// Memory of the GPU in use. Throws CallError.
class DeviceMemory {
 public:
  explicit DeviceMemory(int64_t size_bytes);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  void* get() const { return memory_; }
  int64_t size_bytes() const { return size_bytes_; }
  /// `pattern` from the beginning on, again and again to the end.
  void fill(const void* pattern, int64_t pattern_bytes);

 private:
  int64_t size_bytes_;
  void* memory_;
};

/// Numbers on the GPU: `pattern` again and again, so that a small reference knows all of them.
template <class T>
class DeviceArray {
 public:
  DeviceArray(const std::vector<T>& pattern, int64_t size)
      : size_(size), memory_(size * int64_t{sizeof(T)}) {
    memory_.fill(pattern.data(), static_cast<int64_t>(pattern.size() * sizeof(T)));
  }
  explicit DeviceArray(const std::vector<T>& numbers)
      : DeviceArray(numbers, static_cast<int64_t>(numbers.size())) {}

  T* get() const { return static_cast<T*>(memory_.get()); }
  int64_t size_bytes() const { return memory_.size_bytes(); }
  /// After all work on the GPU. Throws CallError with what a kernel did wrong.
  std::vector<T> host() const {
    kernels::wait_for_gpu();
    std::vector<T> numbers(static_cast<size_t>(size_));
    kernels::copy_from_gpu(numbers.data(), get(), numbers.size() * sizeof(T));
    return numbers;
  }

 private:
  int64_t size_;
  DeviceMemory memory_;
};

/// Host memory that copies need not stage. Throws CallError.
class PinnedMemory {
 public:
  explicit PinnedMemory(int64_t size_bytes);
  ~PinnedMemory();
  PinnedMemory(const PinnedMemory&) = delete;
  PinnedMemory& operator=(const PinnedMemory&) = delete;
  void* get() const { return memory_; }

 private:
  void* memory_ = nullptr;
};

/// `to` = `from`, wherever they are. Asynchronous on `stream`. Throws CallError.
void copy_async(void* to, const void* from, int64_t size_bytes, cudaStream_t stream);

/// Enqueues run number `run` on the stream, and nothing else.
using Work = std::function<void(int64_t run, cudaStream_t stream)>;

/// How long work takes.
class Timer {
 public:
  /// `seconds`: for each time that is taken, roughly.
  explicit Timer(double seconds) : seconds_(seconds) {}

  /// Seconds of one run where runs follow each other as the nodes of a graph, which costs the host
  /// nothing between them; the median of five rounds. Throws CallError.
  double in_graph(const Work& work) const;
  /// The same of `work` alone, where `prepare` has to come before each run; `work` was last.
  double in_graph_after(const Work& prepare, const Work& work) const;
  /// Seconds of one run where each is launched by itself, without waiting between them.
  double in_stream(const Work& work) const;
  /// Seconds from a launch to the moment when the host knows of its end.
  double waited_for(const Work& work) const;
  /// The same of a graph of `n_runs` runs.
  double graph_waited_for(const Work& work, int64_t n_runs) const;

 private:
  double seconds_;
};

/// Bytes of the device that a graph of `n_runs` runs takes. Throws CallError.
int64_t bytes_of_graph(const Work& work, int64_t n_runs);

}  // namespace orrery::gpu_check
