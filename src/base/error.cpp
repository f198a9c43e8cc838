#include "orrery/base/error.h"

#include <filesystem>

#include "orrery/base/text.h"

namespace orrery {

namespace {

std::string with_detail(const std::string& what, const ErrorDetail& detail) {
  std::string text = what;
  if (!detail.expected.empty()) text += "; expected " + detail.expected;
  if (!detail.got.empty()) text += "; got " + detail.got;
  if (!detail.advice.empty()) text += "; " + detail.advice;
  return text;
}

}  // namespace

Error::Error(const std::string& what, const ErrorDetail& detail, ExitCode code)
    : std::runtime_error(with_detail(what, detail)), code_(code) {}

ErrorKind kind_of(const std::exception& error) {
#define ORRERY_IS_OF(Name, code) \
  if (dynamic_cast<const Name*>(&error) != nullptr) return ErrorKind::k##Name;
  ORRERY_ERROR_CLASSES(ORRERY_IS_OF)
#undef ORRERY_IS_OF
  return dynamic_cast<const Error*>(&error) != nullptr ? ErrorKind::kError : ErrorKind::kCallError;
}

void throw_error(ErrorKind kind, ExitCode code, const std::string& what) {
  switch (kind) {
#define ORRERY_THROW(Name, its_code) \
  case ErrorKind::k##Name:           \
    throw Name(what);
    ORRERY_ERROR_CLASSES(ORRERY_THROW)
#undef ORRERY_THROW
    case ErrorKind::kError:
      break;
  }
  throw Error(what, code);
}

ExitCode exit_code_of(const std::exception& error) {
  const auto* const known = dynamic_cast<const Error*>(&error);
  if (known != nullptr) return static_cast<ExitCode>(known->exit_code());
  const bool is_of_files =
      dynamic_cast<const std::filesystem::filesystem_error*>(&error) != nullptr;
  return is_of_files ? ExitCode::kOutputFailed : ExitCode::kCallFailed;
}

void rethrow_from(const std::string& where, const std::exception& error) {
  throw_error(kind_of(error), exit_code_of(error), base::concat(where, ": ", error.what()));
}

namespace base {

void assertion_failed(const char* condition, const char* file, int line,
                      const std::string& message) {
  throw Error(concat("internal error at ", file, ":", line, ": ", message,
                     message.empty() ? "" : " ", "(", condition,
                     " is false); please report it with the log"));
}

}  // namespace base

}  // namespace orrery
