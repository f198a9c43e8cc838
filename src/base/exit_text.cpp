#include "orrery/base/exit_text.h"

#include "orrery/base/error.h"  // ExitCode
#include "orrery/base/text.h"

namespace orrery {

std::string exit_text(int exit_code) {
  const auto with = [&](const char* meaning) {
    return base::concat("exit code ", exit_code, " (", meaning, ")");
  };
  switch (static_cast<ExitCode>(exit_code)) {
    case ExitCode::kDone:
      return with("done");
    case ExitCode::kBadConfiguration:
      return with("bad configuration or usage");
    case ExitCode::kCallFailed:
      return with("a call failed");
    case ExitCode::kPeerLost:
      return with("a peer died, a GPU was lost or a deadline passed");
    case ExitCode::kOutputFailed:
      return with("output or a checkpoint could not be written or read");
    case ExitCode::kStoppedOnPurpose:
      return with("stopped on purpose: submit again");
  }
  return base::concat("exit code ", exit_code);
}

}  // namespace orrery
