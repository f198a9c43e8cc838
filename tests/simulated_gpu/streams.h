// Streams, events and graphs of the simulated GPUs. A stream is a queue, and nothing in it runs
// before somebody waits for it; then only what must have run by then. So a wait or an event that is
// missing gives wrong numbers always, and not now and then.
//
// Order (environment SIMULATED_GPU_ORDER): `late`, as said; `reversed`, late, and a wait for a
// whole device works off its newest stream first; `eager`, work runs as soon as it can.
//
// Streams never wait for each other by themselves, the default stream included: stricter than CUDA,
// whose legacy default stream waits for streams that are not made non-blocking. Any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>

namespace orrery::simulated_gpu {

enum class Order { kLate, kReversed, kEager };
Order order();
/// Runs everything first.
void set_order(Order order);

/// A rule of streams or captures that the program broke.
class StreamError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// A device that is lost: none of its work runs any more, and whoever waits for it is told.
class DeviceLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// Environment SIMULATED_GPU_LOST, `DEVICE:KIND:N`: when the N-th `kernel`, `copy` (with pinned
/// memory) or `nccl` of the device would run, or its N-th `graph` is launched.
bool is_lost(int device);

/// Held while work runs, and by whoever needs that none does.
std::recursive_mutex& lock_of_streams();

using Stream = int;
/// CUDA's small handles (0, legacy and per-thread default streams) mean the default stream here.
inline constexpr std::uintptr_t kFirstStreamHandle = 16;
/// The stream that a cudaStream_t stands for; `device`: whose default stream.
Stream stream_of_handle(const void* handle, int device);
Stream new_stream(int device);
Stream default_stream(int device);
int device_of(Stream stream);

/// Returns true when it is done; false: it waits for another process, and is to be asked again.
using Work = std::function<bool()>;
void enqueue(Stream stream, std::string name, Work work);
/// Gives the work of one run on a stream: of this call, or of each launch of the graph that it is
/// captured in.
using Start = std::function<Work(Stream)>;
void enqueue_each(Stream stream, std::string name, Start start);
/// Work that is done when it returns.
void launch(Stream stream, std::string name, std::function<void()> work);

void drain(Stream stream);  // runs what the stream has; the program waits for nothing
/// What a device does by itself: one task of the stream, or of one that it waits for. False: there
/// is none, or another process must act first. Whoever waits next is told of what the task throws.
bool run_task(Stream stream);
/// Throws StreamError where the stream is being captured.
void synchronize(Stream stream);
void synchronize_device(int device);
bool is_idle(Stream stream);  ///< runs one task at most first

using Event = int;
Event new_event();
void destroy_event(Event event);
void record(Event event, Stream stream);
void wait_for(Stream stream, Event event);
bool has_passed(Event event);  ///< runs one task at most first
void synchronize_event(Event event);

/// A graph: what was enqueued on the stream that it was captured from, and on the streams that
/// joined by waiting for an event of it.
using Graph = int;
/// Whose calls that a capture cannot keep (allocations, waits for a device) it refuses: those of
/// all threads, of the thread that captures, or none.
enum class CaptureMode { kGlobal, kThreadLocal, kRelaxed };
void begin_capture(Stream stream, CaptureMode mode = CaptureMode::kGlobal);
bool is_capturing(Stream stream);
/// Whether such a call of this thread is refused now.
bool is_refused_by_capture();
/// Of the calling thread, which may be stricter or laxer than the captures; returns what it was.
CaptureMode exchange_capture_mode(CaptureMode mode);
/// Throws StreamError when a stream that joined was not joined back.
Graph end_capture(Stream stream);
void launch_graph(Graph graph, Stream stream);
void destroy_graph(Graph graph);
int64_t size_of_graph(Graph graph);  ///< kernels, copies and memsets
/// The name of work that fills fresh memory with NaN: the simulation's own, and no node of a graph.
inline constexpr char kPoison[] = "poison";
/// The name of a copy between a device and pinned memory.
inline constexpr char kPinnedCopy[] = "pinned copy";

/// What happened since the program began. Host reads: numbers of a device that LibTorch brought to
/// the host while that waited (`item`, a blocking copy).
struct Counters {
  int64_t kernels = 0;  // a graph's once, when they are recorded
  int64_t graphs = 0;   // launched
  int64_t host_waits = 0, host_reads = 0, allocations = 0;
  int64_t copies_to_device = 0, copies_to_host = 0, copies_on_device = 0;
  int64_t bytes_to_device = 0, bytes_to_host = 0, bytes_on_device = 0;
};
/// What was counted between two moments.
inline Counters operator-(Counters later, const Counters& earlier) {
  later.kernels -= earlier.kernels;
  later.graphs -= earlier.graphs;
  later.host_waits -= earlier.host_waits;
  later.host_reads -= earlier.host_reads;
  later.allocations -= earlier.allocations;
  later.copies_to_device -= earlier.copies_to_device;
  later.copies_to_host -= earlier.copies_to_host;
  later.copies_on_device -= earlier.copies_on_device;
  later.bytes_to_device -= earlier.bytes_to_device;
  later.bytes_to_host -= earlier.bytes_to_host;
  later.bytes_on_device -= earlier.bytes_on_device;
  return later;
}

Counters& counters();

}  // namespace orrery::simulated_gpu
