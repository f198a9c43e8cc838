// Every failure that Orrery reports is an Error: it says where and what was attempted, what was
// expected, what came, and what to try, and it knows the exit code of the program. Libraries throw;
// only the outermost catch (a request's, the program's) ends anything.
#pragma once

#include <stdexcept>
#include <string>

namespace orrery {

enum class ExitCode : int {
  kDone = 0,
  kBadConfiguration = 2,
  kCallFailed = 3,
  kPeerLost = 4,
  kOutputFailed = 5,
  kStoppedOnPurpose = 85,
};

/// The parts of a message after "where: what". Empty ones are left out of the text.
struct ErrorDetail {
  std::string expected;
  std::string got;
  std::string advice;
};

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& what, ExitCode code = ExitCode::kCallFailed)
      : std::runtime_error(what), code_(code) {}
  Error(const std::string& what, const ErrorDetail& detail, ExitCode code = ExitCode::kCallFailed);

  int exit_code() const { return static_cast<int>(code_); }

 private:
  ExitCode code_;
};

/// One class per kind of failure; the exit code follows from the class.
#define ORRERY_ERROR_CLASS(Name, code)                                                      \
  class Name : public Error {                                                               \
   public:                                                                                  \
    explicit Name(const std::string& what) : Error(what, code) {}                           \
    Name(const std::string& what, const ErrorDetail& detail) : Error(what, detail, code) {} \
  }

ORRERY_ERROR_CLASS(ConfigError, ExitCode::kBadConfiguration);  // the user's configuration or usage
ORRERY_ERROR_CLASS(DataError, ExitCode::kBadConfiguration);    // the user's data
ORRERY_ERROR_CLASS(CallError, ExitCode::kCallFailed);          // a model function call failed
ORRERY_ERROR_CLASS(ShapeError, ExitCode::kCallFailed);         // tensors that do not fit together
ORRERY_ERROR_CLASS(CommError, ExitCode::kPeerLost);            // a message or collective failed
ORRERY_ERROR_CLASS(PeerError, ExitCode::kPeerLost);            // a peer died or missed a deadline
ORRERY_ERROR_CLASS(ProtocolError, ExitCode::kPeerLost);        // messages out of order or malformed
ORRERY_ERROR_CLASS(CheckpointError, ExitCode::kOutputFailed);  // a model or checkpoint on disk
ORRERY_ERROR_CLASS(OutputError, ExitCode::kOutputFailed);      // logs, metrics, samples on disk

#undef ORRERY_ERROR_CLASS

namespace base {
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line,
                                   const std::string& message);
}  // namespace base

}  // namespace orrery

/// A fact that no input can make false: its failure is a fault of Orrery. Stays on in release.
#define ORRERY_ASSERT(condition, ...)                                                  \
  do {                                                                                 \
    if (!(condition)) {                                                                \
      ::orrery::base::assertion_failed(#condition, __FILE__, __LINE__, {__VA_ARGS__}); \
    }                                                                                  \
  } while (false)
