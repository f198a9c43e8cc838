// Memory that could not be had: what it was for, how much, and what to lower. LibTorch and the
// standard library know the size at most.
#pragma once

#include <exception>
#include <optional>
#include <string>

namespace orrery::worker {

/// What is being allocated for.
struct AllocationPurpose {
  std::string what;       ///< such as `parameters of role actor (35168 numbers, 137.4 KiB)`
  std::string advice;     ///< which keys make it smaller
  std::string held = {};  ///< what is on the GPU whatever runs, the largest first
};

/// What an error tells of memory that was not to be had; perhaps nothing.
struct FailedAllocation {
  std::string size = {};
  bool is_on_gpu = false;
  std::string left = {};  ///< of the GPU
};

/// Whether `error` says that there was no memory, and what else.
std::optional<FailedAllocation> failed_allocation(const std::exception& error);

/// Throws CallError for memory of this purpose.
[[noreturn]] void throw_no_memory(const AllocationPurpose& purpose, const FailedAllocation& failed);

/// Runs `work`; memory that it does not get becomes a CallError that names what `purpose` returns,
/// which is asked only then. Other errors pass.
template <class Purpose, class Work>
auto with_purpose(const Purpose& purpose, const Work& work) {
  try {
    return work();
  } catch (const std::exception& error) {
    if (const auto failed = failed_allocation(error)) throw_no_memory(purpose(), *failed);
    throw;
  }
}

}  // namespace orrery::worker
