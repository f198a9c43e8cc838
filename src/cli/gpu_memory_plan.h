// What each GPU will hold in every phase of a step, from sizes alone: no GPU is needed, no tensor
// is made. The rules are those of docs/gpu.md: bf16 parameters; fp32 gradients, master weights and
// moments where the model does not say bf16, the latter two cut over the data ranks (ZeRO stage 1);
// the gradient buffer is released outside training; what model.X.offload names goes to the host
// while it is idle; pages of keys and values are taken as sequences grow.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "job.h"
#include "orrery/graph/layout.h"

namespace orrery::cli {

inline constexpr double kGb = 1e9;

/// In GB of 10^9 bytes, with one decimal: `80.0`.
std::string gb(double bytes);

/// What a GPU loses beside what the program asks for, in GB (10^9 bytes). Estimates, to be replaced
/// by what is measured on the machine.
struct GpuAllowances {
  double context_gb = 0.6;  ///< CUDA's context and the kernels that are loaded
  double cublas_gb = 0.1;   ///< workspace of cuBLAS
  double nccl_gb = 1.0;     ///< buffers of all communicators; none for a single worker
  double graphs_gb = 0.4;   ///< decoding in CUDA graphs

  double sum(int n_workers) const;
};

struct GpuMemory {
  double memory_gb = 80;  ///< of one GPU, in GB (10^9 bytes)
  GpuAllowances allowances;
};

/// Bytes on one GPU while a phase runs.
struct PhaseMemory {
  std::string phase;  ///< `load`, a call's name, `reallocate` or `save`
  int64_t parameters = 0;
  int64_t gradients = 0;
  int64_t optimizer = 0;    ///< master weights and moments
  int64_t offloaded = 0;    ///< parameters and optimizer state that the host has: not in sum()
  int64_t activations = 0;  ///< what backward needs of the micro-batches in flight
  int64_t logits = 0;
  int64_t workspace = 0;
  int64_t pages = 0;         ///< of the longest prompts and answers in every place at once
  int64_t fewest_pages = 0;  ///< of one such sequence: with less nothing can be generated
  int64_t slabs = 0;         ///< of activations and workspace, what is one buffer for all layers
  /// Not in sum(): slabs of other calls, which the program does not give back when they end, and
  /// what slabs are larger than they have to be.
  int64_t left_behind = 0;

  /// All that must be there at once.
  int64_t sum() const;
  /// What this program takes as it is: generation makes all its pages at its start, and
  /// `left_behind` stays on the device.
  int64_t of_the_program() const;
};

/// [workers][phases]: `load`, the calls of roles with parameters in the graph's order, `reallocate`
/// where parameters move, `save` where a role is trained. Pure; local.
///   layout  for every role in place of the configured ones; its workers are those of the job
std::vector<std::vector<PhaseMemory>> plan_gpu_memory(
    const Job& job, const std::optional<graph::Layout>& layout = {});

/// The layout of the same number of workers that fits and has the fewest tensor and pipeline ranks
/// beyond the configured ones; nothing if none fits.
std::optional<graph::Layout> nearest_layout_that_fits(const Job& job, const GpuMemory& gpu);

/// The tables, equal workers in one, and whether they fit. Throws ConfigError (exit 2) that names
/// worker, phase, bytes and the nearest layout if they do not; `text` then has been written.
void write_gpu_memory(const Job& job, const GpuMemory& gpu, std::ostream& out);

}  // namespace orrery::cli
