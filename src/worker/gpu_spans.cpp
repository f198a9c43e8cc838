#include "orrery/worker/gpu_spans.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <exception>

#include "orrery/base/log.h"
#include "orrery/base/text.h"

namespace orrery::worker {

GpuSpans::GpuSpans(c10::Device device, metrics::TraceWriter* trace)
    : device_(device), trace_(device.is_cpu() ? nullptr : trace) {}

GpuSpans::~GpuSpans() {
  try {
    write_passed();
  } catch (const std::exception& error) {  // of a device that was lost
    base::log_warning(base::concat("the trace lacks the last spans of the GPU: ", error.what()));
  }
}

void GpuSpans::record(c10::Event& event) const {
  event.record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
}

void GpuSpans::begin(const std::string& name, const metrics::TraceArguments& arguments) {
  if (trace_ == nullptr) return;
  write_passed();
  Span& span = spans_.emplace_back();
  span.event = {.name = name,
                .category = "gpu",
                .start_us = metrics::TraceWriter::now_us(),
                .arguments = arguments,
                .track = "gpu"};
  record(span.first);
}

void GpuSpans::end() {
  if (trace_ == nullptr) return;
  record(spans_.back().last);
  write_passed();
}

void GpuSpans::write_passed() {
  while (!spans_.empty() && spans_.front().last.was_marked_for_recording() &&
         spans_.front().last.query()) {
    Span& span = spans_.front();
    const double milliseconds = span.first.elapsedTime(span.last);
    span.event.duration_us = static_cast<int64_t>(milliseconds * 1e3);
    trace_->write(span.event);
    spans_.pop_front();
  }
}

}  // namespace orrery::worker
