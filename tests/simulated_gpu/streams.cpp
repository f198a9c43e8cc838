#include "streams.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace orrery::simulated_gpu {

namespace {

/// How often an event was recorded, and up to which of these the streams have come.
struct EventState {
  int64_t recorded = 0, reached = 0;
  Stream stream = -1;
  Graph captured_in = -1;  // recorded while its stream was being captured
};

struct Task {
  enum Kind { kWork, kRecord, kWait } kind = kWork;
  std::string name = {};
  Start start = {};
  Work work = {};  // of `start`, once it is in a stream's queue
  std::shared_ptr<EventState> event = {};
  int64_t version = 0;
  bool is_begun = false;  // work that waits for another process is asked again
};

/// When which device is lost.
struct Loss {
  int device = -1;
  std::string kind = {};
  int64_t n_left = 0;
  bool has_come = false;

  static Loss from_environment() {
    Loss loss;
    const char* const text = std::getenv("SIMULATED_GPU_LOST");
    char kind[16] = {};
    long n = 0;
    if (text != nullptr && std::sscanf(text, "%d:%15[a-z]:%ld", &loss.device, kind, &n) != 3) {
      std::fprintf(stderr, "SIMULATED_GPU_LOST is DEVICE:KIND:N, not %s\n", text);
      std::abort();
    }
    loss.kind = kind;
    loss.n_left = n;
    return loss;
  }
  /// One more thing of the device.
  void count(int used, std::string_view what) {
    if (used == device && !has_come && what == kind) has_come = --n_left <= 0;
  }
};

struct StreamState {
  int device = 0;
  std::deque<Task> tasks = {};
  Graph capturing = -1;
  std::exception_ptr error = {};  // of a task that nobody waited for
};

struct GraphState {
  std::vector<Task> tasks = {};  // in an order in which they may run
  Stream origin = -1;
  CaptureMode mode = CaptureMode::kGlobal;
  std::thread::id thread = std::this_thread::get_id();
  std::set<Stream> joined = {};    // streams that take part, the origin left out
  std::set<Stream> unjoined = {};  // those with work that the origin has not waited for
};

Order order_from_environment() {
  const char* const text = std::getenv("SIMULATED_GPU_ORDER");
  if (text == nullptr) return Order::kLate;
  if (std::string_view(text) == "eager") return Order::kEager;
  return std::string_view(text) == "reversed" ? Order::kReversed : Order::kLate;
}

struct Machine {
  std::recursive_mutex lock;
  std::vector<StreamState> streams;
  std::map<int, Stream> default_streams;  // by device
  std::map<Event, std::shared_ptr<EventState>> events;
  std::map<Graph, GraphState> graphs;
  int next_event = 1, next_graph = 1;
  Order order = order_from_environment();
  bool is_running = false;  // a task enqueues others: they run after it
  Counters counters;
  Loss loss = Loss::from_environment();

  StreamState& at(Stream stream) { return streams.at(static_cast<std::size_t>(stream)); }
};

Machine& machine() {
  static auto* const all = new Machine;
  return *all;
}
using Lock = std::lock_guard<std::recursive_mutex>;

std::string_view kind_of(const Task& task) {
  if (task.name == kPinnedCopy) return "copy";
  if (task.name == "nccl") return "nccl";
  const bool is_other = task.name == "copy" || task.name == "memset" || task.name == "free";
  return is_other || task.name == kPoison ? "" : "kernel";
}

void throw_if_lost(int device) {
  if (is_lost(device)) throw DeviceLost("the device is lost");
}

/// What a task held goes when it is out of the queue: freeing memory can run other tasks.
void drop_first(Stream stream) {
  std::deque<Task>& tasks = machine().at(stream).tasks;
  const Task done = std::move(tasks.front());
  tasks.pop_front();
}

/// Runs the first task of a stream. False: there is none, or it cannot run yet.
bool step(Stream stream) {
  std::deque<Task>& tasks = machine().at(stream).tasks;
  if (tasks.empty()) return false;
  Task& task = tasks.front();
  switch (task.kind) {
    case Task::kWait:
      if (task.event->reached < task.version) return false;
      break;
    case Task::kRecord:
      task.event->reached = std::max(task.event->reached, task.version);
      break;
    case Task::kWork: {
      const bool was_running = std::exchange(machine().is_running, true);
      bool done = true;
      try {
        const int device = machine().at(stream).device;
        if (!std::exchange(task.is_begun, true)) machine().loss.count(device, kind_of(task));
        throw_if_lost(device);
        done = task.work();
      } catch (...) {  // it would not get better by itself
        machine().is_running = was_running;
        drop_first(stream);
        throw;
      }
      machine().is_running = was_running;
      if (!done) return false;
      break;
    }
  }
  drop_first(stream);
  return true;
}

/// Runs one task, of this stream or of one that its first task waits for. False: another process
/// must act first.
bool advance(Stream stream) {
  for (std::size_t depth = 0; depth <= machine().streams.size(); ++depth) {
    if (step(stream)) return true;
    const std::deque<Task>& tasks = machine().at(stream).tasks;
    if (tasks.empty()) return true;
    if (tasks.front().kind != Task::kWait) return false;
    stream = tasks.front().event->stream;
  }
  throw StreamError("streams wait for each other");
}

template <class Done>
void run_until(Stream stream, const Done& done) {
  constexpr int kYields = 100;  // then the core is for the process that it waits for
  int n_tries = 0;
  while (true) {
    {
      const Lock lock(machine().lock);
      if (const auto error = std::exchange(machine().at(stream).error, nullptr)) {
        std::rethrow_exception(error);
      }
      throw_if_lost(machine().at(stream).device);
      if (done()) return;
      if (advance(stream)) {
        n_tries = 0;
        continue;
      }
    }
    if (++n_tries < kYields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }
}

void run_what_can_run() {
  if (machine().is_running) return;
  for (bool moved = true; moved;) {
    moved = false;
    for (Stream stream = 0; stream < static_cast<Stream>(machine().streams.size()); ++stream) {
      while (step(stream)) moved = true;
    }
  }
}

void push(Stream stream, Task task) {
  StreamState& state = machine().at(stream);
  if (state.capturing >= 0) {
    GraphState& graph = machine().graphs.at(state.capturing);
    if (stream != graph.origin) graph.unjoined.insert(stream);
    graph.tasks.push_back(std::move(task));
    return;
  }
  if (task.kind == Task::kWork) task.work = task.start(stream);
  state.tasks.push_back(std::move(task));
  if (machine().order == Order::kEager) run_what_can_run();
}

void check_no_capture(Stream stream, const char* what) {
  if (machine().at(stream).capturing < 0) return;
  throw StreamError(std::string(what) + " of a stream that is being captured");
}

std::vector<Stream> streams_of(int device) {
  std::vector<Stream> result;
  for (std::size_t i = 0; i < machine().streams.size(); ++i) {
    if (machine().streams[i].device == device) result.push_back(static_cast<Stream>(i));
  }
  if (machine().order == Order::kReversed) std::reverse(result.begin(), result.end());
  return result;
}

}  // namespace

bool is_lost(int device) {
  const Lock lock(machine().lock);
  return machine().loss.has_come && machine().loss.device == device;
}

std::recursive_mutex& lock_of_streams() { return machine().lock; }

Order order() { return machine().order; }

void set_order(Order order) {
  const Lock lock(machine().lock);
  for (Stream stream = 0; stream < static_cast<Stream>(machine().streams.size()); ++stream) {
    drain(stream);
  }
  machine().order = order;
}

Stream new_stream(int device) {
  const Lock lock(machine().lock);
  machine().streams.push_back({.device = device});
  return static_cast<Stream>(machine().streams.size()) - 1;
}

Stream stream_of_handle(const void* handle, int device) {
  const auto number = reinterpret_cast<std::uintptr_t>(handle);
  if (number < kFirstStreamHandle) return default_stream(device);
  return static_cast<Stream>(number - kFirstStreamHandle);
}

Stream default_stream(int device) {
  const Lock lock(machine().lock);
  const auto found = machine().default_streams.find(device);
  if (found != machine().default_streams.end()) return found->second;
  return machine().default_streams[device] = new_stream(device);
}

int device_of(Stream stream) {
  const Lock lock(machine().lock);
  return machine().at(stream).device;
}

void enqueue_each(Stream stream, std::string name, Start start) {
  const Lock lock(machine().lock);
  push(stream, {.kind = Task::kWork, .name = std::move(name), .start = std::move(start)});
}

void enqueue(Stream stream, std::string name, Work work) {
  enqueue_each(stream, std::move(name), [work = std::move(work)](Stream) { return work; });
}

void launch(Stream stream, std::string name, std::function<void()> work) {
  enqueue(stream, std::move(name), [work = std::move(work)] {
    work();
    return true;
  });
}

void drain(Stream stream) {
  run_until(stream, [stream] { return machine().at(stream).tasks.empty(); });
}

bool run_task(Stream stream) {
  const Lock lock(machine().lock);
  try {
    return !machine().at(stream).tasks.empty() && advance(stream);
  } catch (...) {
    machine().at(stream).error = std::current_exception();
    return false;
  }
}

void synchronize(Stream stream) {
  {
    const Lock lock(machine().lock);
    check_no_capture(stream, "a wait for the end");
    ++machine().counters.host_waits;
  }
  drain(stream);
}

void synchronize_device(int device) {
  std::vector<Stream> streams;
  {
    const Lock lock(machine().lock);
    if (is_refused_by_capture())
      throw StreamError("a wait for a device while a stream is being captured");
    ++machine().counters.host_waits;
    streams = streams_of(device);
  }
  for (const Stream stream : streams) drain(stream);
}

bool is_idle(Stream stream) {
  const Lock lock(machine().lock);
  check_no_capture(stream, "a question about the end");
  advance(stream);
  return machine().at(stream).tasks.empty();
}

Event new_event() {
  const Lock lock(machine().lock);
  machine().events[machine().next_event] = std::make_shared<EventState>();
  return machine().next_event++;
}

void destroy_event(Event event) {
  const Lock lock(machine().lock);
  machine().events.erase(event);
}

void record(Event event, Stream stream) {
  const Lock lock(machine().lock);
  const std::shared_ptr<EventState>& state = machine().events.at(event);
  state->stream = stream;
  state->captured_in = machine().at(stream).capturing;
  if (state->captured_in >= 0) return;  // of the capture: it orders what joins by it
  push(stream, {.kind = Task::kRecord, .event = state, .version = ++state->recorded});
}

void wait_for(Stream stream, Event event) {
  const Lock lock(machine().lock);
  const std::shared_ptr<EventState>& state = machine().events.at(event);
  StreamState& waiting = machine().at(stream);
  if (state->captured_in >= 0) {
    const auto graph = machine().graphs.find(state->captured_in);
    if (graph == machine().graphs.end()) return;
    if (waiting.capturing < 0) {
      if (!waiting.tasks.empty() && stream == graph->second.origin) return;
      waiting.capturing = state->captured_in;  // joins
      if (stream != graph->second.origin) graph->second.joined.insert(stream);
    }
    // Tasks are kept in the order in which they were enqueued, so the wait holds already.
    if (stream == graph->second.origin) graph->second.unjoined.erase(state->stream);
    return;
  }
  if (waiting.capturing >= 0) {
    if (state->reached < state->recorded) {
      throw StreamError("a captured stream waits for an event that is not of the capture");
    }
    return;
  }
  if (state->recorded == 0) return;
  push(stream, {.kind = Task::kWait, .event = state, .version = state->recorded});
}

bool has_passed(Event event) {
  const Lock lock(machine().lock);
  const EventState& state = *machine().events.at(event);
  if (state.captured_in >= 0) throw StreamError("a question about an event of a capture");
  if (state.reached < state.recorded) advance(state.stream);
  return state.reached >= state.recorded;
}

void synchronize_event(Event event) {
  std::shared_ptr<EventState> state;
  {
    const Lock lock(machine().lock);
    state = machine().events.at(event);
    if (state->captured_in >= 0) throw StreamError("a wait for an event of a capture");
    if (state->recorded == 0) return;
    ++machine().counters.host_waits;
  }
  run_until(state->stream, [&state] { return state->reached >= state->recorded; });
}

void begin_capture(Stream stream, CaptureMode mode) {
  const Lock lock(machine().lock);
  check_no_capture(stream, "a second capture");
  machine().at(stream).capturing = machine().next_graph;
  GraphState& graph = machine().graphs[machine().next_graph++];
  graph.origin = stream;
  graph.mode = mode;
}

bool is_capturing(Stream stream) {
  const Lock lock(machine().lock);
  return machine().at(stream).capturing >= 0;
}

namespace {
thread_local CaptureMode mode_of_thread = CaptureMode::kGlobal;
}  // namespace

CaptureMode exchange_capture_mode(CaptureMode mode) { return std::exchange(mode_of_thread, mode); }

bool is_refused_by_capture() {
  const Lock lock(machine().lock);
  if (mode_of_thread == CaptureMode::kRelaxed) return false;
  for (const StreamState& stream : machine().streams) {
    if (stream.capturing < 0) continue;
    const GraphState& graph = machine().graphs.at(stream.capturing);
    if (graph.mode == CaptureMode::kRelaxed) continue;
    const bool is_of_others = graph.thread != std::this_thread::get_id();
    if (!is_of_others) return true;
    if (graph.mode == CaptureMode::kGlobal && mode_of_thread == CaptureMode::kGlobal) return true;
  }
  return false;
}

Graph end_capture(Stream stream) {
  const Lock lock(machine().lock);
  const Graph number = machine().at(stream).capturing;
  if (number < 0 || machine().graphs.at(number).origin != stream) {
    throw StreamError("the end of a capture that did not begin on this stream");
  }
  GraphState& graph = machine().graphs.at(number);
  machine().at(stream).capturing = -1;
  for (const Stream joined : graph.joined) machine().at(joined).capturing = -1;
  if (!graph.unjoined.empty()) {
    machine().graphs.erase(number);
    throw StreamError("a stream that joined a capture was not joined back before its end");
  }
  return number;
}

void launch_graph(Graph graph, Stream stream) {
  const Lock lock(machine().lock);
  machine().loss.count(machine().at(stream).device, "graph");
  for (const Task& task : machine().graphs.at(graph).tasks) push(stream, task);
}

void destroy_graph(Graph graph) {
  const Lock lock(machine().lock);
  machine().graphs.erase(graph);
}

int64_t size_of_graph(Graph graph) {
  const Lock lock(machine().lock);
  const std::vector<Task>& tasks = machine().graphs.at(graph).tasks;
  return std::count_if(tasks.begin(), tasks.end(),
                       [](const Task& task) { return task.name != kPoison; });
}

Counters& counters() { return machine().counters; }

}  // namespace orrery::simulated_gpu
