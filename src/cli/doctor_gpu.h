// What depends on whether the program was built with CUDA (doctor_gpu.cpp) or without
// (doctor_no_gpu.cpp): what `orrery doctor` finds on GPUs.
#pragma once

#include <string>
#include <vector>

#include "command_ranks.h"
#include "doctor_report.h"

namespace orrery::cli {

GpuSupport gpu_support();

/// Of the library that the program was started with.
std::string nccl_version();

/// The GPU that this rank would compute on; -1: none, as of the master.
int own_gpu(const CommandRanks& ranks, int64_t n_visible);

/// Fills in what NCCL and LibTorch say, and of the GPU that this rank would compute on where it
/// stands. Of this process; loads LibTorch's CUDA half where there is a GPU.
void look_at_gpus(const CommandRanks& ranks, GpuFacts& gpus);

/// Fills in how fast this rank's GPU, where it has one, copies from and to pinned memory of the
/// host. All GPUs of a node at once, as in a job.
void measure_copies(const CommandRanks& ranks, GpuFacts& gpus);

/// All workers in one NCCL group, each with the GPU that it would train on: messages between
/// neighbours, of which the slowest pair within a node and the slowest between nodes are told, and
/// an all-reduce. Where there are fewer GPUs than workers on a node, or fewer than two workers,
/// nothing is measured. Collective over all ranks; the result is on rank 0. Throws CommError when
/// NCCL fails: so would the job.
std::vector<Link> measure_nccl(const CommandRanks& ranks, int64_t n_gpus, double seconds);

}  // namespace orrery::cli
