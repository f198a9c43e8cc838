// Every failure that Orrery reports is an Error: it says where and what was attempted, what was
// expected, what came, and what to try, and it knows the exit code of the program. Libraries throw;
// only the outermost catch (a request's, the program's) ends anything.
#pragma once

#include <cstdint>
#include <exception>
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

/// One class per kind of failure; the exit code follows from the class. This list is the only one.
#define ORRERY_ERROR_CLASSES(each)                                                  \
  each(ConfigError, kBadConfiguration)     /* the user's configuration or usage */  \
      each(DataError, kBadConfiguration)   /* the user's data */                    \
      each(CallError, kCallFailed)         /* a model function call failed */       \
      each(ShapeError, kCallFailed)        /* tensors that do not fit together */   \
      each(CommError, kPeerLost)           /* a message or collective failed */     \
      each(PeerError, kPeerLost)           /* a peer died or missed a deadline */   \
      each(ProtocolError, kPeerLost)       /* messages out of order or malformed */ \
      each(CheckpointError, kOutputFailed) /* a model or checkpoint on disk */      \
      each(OutputError, kOutputFailed)     /* logs, metrics, samples on disk */

#define ORRERY_ERROR_CLASS(Name, code)                                      \
  class Name : public Error {                                               \
   public:                                                                  \
    explicit Name(const std::string& what) : Error(what, ExitCode::code) {} \
    Name(const std::string& what, const ErrorDetail& detail)                \
        : Error(what, detail, ExitCode::code) {}                            \
  };
ORRERY_ERROR_CLASSES(ORRERY_ERROR_CLASS)
#undef ORRERY_ERROR_CLASS

/// The class of an error as a value, for messages to other ranks.
enum class ErrorKind : int32_t {
  kError,  // none of the others: a fault of Orrery
#define ORRERY_ERROR_KIND(Name, code) k##Name,
  ORRERY_ERROR_CLASSES(ORRERY_ERROR_KIND)
#undef ORRERY_ERROR_KIND
};

/// What is no Error counts as a failed call.
ErrorKind kind_of(const std::exception& error);

/// Throws an error of the class; kError: an Error with `code`.
[[noreturn]] void throw_error(ErrorKind kind, ExitCode code, const std::string& what);

/// The code of an Error; of an error of std::filesystem that of failed output; of anything else
/// that of a failed call.
ExitCode exit_code_of(const std::exception& error);

/// Throws `error` again with `where` and ": " in front: class and exit code stay. What is no Error
/// becomes a CallError.
[[noreturn]] void rethrow_from(const std::string& where, const std::exception& error);

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
