// A GPU that is lost in mid-run: an Xid error, memory that ECC cannot correct, a card that has
// fallen off the bus. Nothing of the process can use it any more; the job goes on from a
// checkpoint.
#pragma once

#include <c10/core/Device.h>

#include <exception>
#include <string>

namespace orrery::worker {

/// How reports name a GPU; asked for while it still answers. No index: a CPU.
struct GpuName {
  int index = -1;
  std::string pci_id = {};

  /// Throws CallError.
  static GpuName of(c10::Device device);
};

/// Throws PeerError (exit code 4: as where a rank was lost) that names the GPU and what to do on
/// `host`, if it is lost; `error` is what that was noticed by. Does nothing of a CPU.
void throw_if_lost(const GpuName& gpu, const std::string& host, const std::exception& error);

/// Calls work(); what it throws is a PeerError where the GPU is lost.
template <class Work>
void naming_lost_gpu(const GpuName& gpu, const std::string& host, const Work& work) {
  try {
    work();
  } catch (const std::exception& error) {
    throw_if_lost(gpu, host, error);
    throw;
  }
}

}  // namespace orrery::worker
