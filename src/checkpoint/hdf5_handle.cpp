#include "hdf5_handle.h"

#include <string_view>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::checkpoint {

void throw_hdf5_error(const std::string& where, const char* call) {
  const std::string_view text = call;
  base::Hdf5Failure failure = base::take_hdf5_failure();
  throw CheckpointError(
      base::concat(where, ": HDF5 ", text.substr(0, text.find('(')), " failed"),
      {.expected = "success",
       .got = std::move(failure.reason),
       .advice = failure.is_of_system ? "see to that disk or folder, and start again"
                                      : "orrery verify names the damaged files of a checkpoint"});
}

}  // namespace orrery::checkpoint
