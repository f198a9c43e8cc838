// Stands in for the NCCL backend in a build without CUDA: whoever asks for it is told why not.
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/comm/nccl_communicator.h"

namespace orrery::comm {

void open_gpu(int device) {
  throw CommError(base::concat("GPU ", device),
                  {.expected = "a build with CUDA",
                   .got = "one without",
                   .advice = "build with `cmake --preset cuda`, or compute on CPUs"});
}

std::unique_ptr<Communicator> make_nccl_communicator(Communicator&, std::string name, int) {
  throw CommError("a group over NCCL: " + name,
                  {.expected = "a build with CUDA",
                   .got = "one without",
                   .advice = "build with `cmake --preset cuda`, or compute on CPUs"});
}

}  // namespace orrery::comm
