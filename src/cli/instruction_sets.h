// Which instructions the workers of a job compute with (kernels/instruction_set.h), or `cuda`. On
// another set a resumed run differs in the last bits from one that nothing interrupted.
#pragma once

#include <c10/core/Device.h>
#include <mpi.h>

#include <optional>
#include <string>
#include <vector>

#include "orrery/comm/node_map.h"
#include "orrery/kernels/instruction_set.h"  // Amx

namespace orrery::cli {

/// [n_workers] on rank 0, nothing elsewhere. Collective over `world`.
///   device  where the models of this rank compute
std::vector<std::string> instruction_sets_of_workers(MPI_Comm world, const comm::NodeMap& nodes,
                                                     c10::Device device, kernels::Amx amx);

/// Whether these are of workers on GPUs.
bool compute_on_gpus(const std::vector<std::string>& sets);

/// `avx512`, or `amx on 2 workers, avx2 on 1 worker`. By worker.
std::string instruction_sets_text(const std::vector<std::string>& sets);

/// What a run says that goes on with other sets than those of its checkpoint; nothing where they
/// are the same, or where the checkpoint is of a version that did not record them. Of another
/// number of workers the kinds of sets count.
std::optional<std::string> changed_instruction_sets(const std::vector<std::string>& before,
                                                    const std::vector<std::string>& now);

}  // namespace orrery::cli
