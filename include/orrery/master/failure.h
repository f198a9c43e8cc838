// An error that a worker reported, and the report about several of them: workers that share a call
// mostly fail for one reason, which is said once. Pure; main thread of the master.
#pragma once

#include <span>
#include <string>

#include "orrery/comm/message.h"  // RequestKind

namespace orrery::master {

struct Failure {
  int worker = 0;
  std::string call;  ///< empty: of none
  comm::RequestKind request_kind = comm::RequestKind::kEmpty;
  std::string error;  ///< begins with `worker 2 on HOST`, or with anything else
  int exit_code = 0;
  ErrorKind kind = ErrorKind::kCallError;
};

/// A line for each different error in order of their arrival; after it the other workers that
/// reported the same.
std::string text_of(std::span<const Failure> failures);

}  // namespace orrery::master
