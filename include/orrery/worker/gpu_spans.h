// How long a GPU worked on something, for the trace: between two points of its compute stream, on a
// track of its own.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Event.h>

#include <deque>
#include <string>

#include "orrery/metrics/trace.h"

namespace orrery::worker {

/// Never waits for the device: a span is written once its end is found passed, when another one
/// begins or ends. One thread.
class GpuSpans {
 public:
  /// Does nothing of a CPU, or without a writer, which must outlive it.
  GpuSpans(c10::Device device, metrics::TraceWriter* trace);
  GpuSpans(const GpuSpans&) = delete;
  GpuSpans& operator=(const GpuSpans&) = delete;
  ~GpuSpans();

  /// What is launched from here to end() is one span; there is no other one inside.
  void begin(const std::string& name, const metrics::TraceArguments& arguments);
  void end();

 private:
  struct Span {
    metrics::TraceEvent event;
    c10::Event first{c10::kCUDA, c10::EventFlag::BACKEND_DEFAULT};  // with times
    c10::Event last{c10::kCUDA, c10::EventFlag::BACKEND_DEFAULT};
  };

  void record(c10::Event& event) const;
  void write_passed();

  c10::Device device_;
  metrics::TraceWriter* trace_;
  std::deque<Span> spans_;  // begun, and not written yet
};

}  // namespace orrery::worker
