// Spans as NVTX ranges, which NVIDIA's profilers draw beside what the GPU did. Ranges of a thread
// lie inside one another.
#pragma once

#include <string>

namespace orrery::metrics {

/// In builds without CUDA, and where no profiler listens, nothing.
void push_nvtx_range(const std::string& name);
void pop_nvtx_range();
/// Whether a profiler listens, for whoever makes names that nobody else needs. Asked once.
bool is_nvtx_heard();

}  // namespace orrery::metrics
