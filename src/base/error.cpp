#include "orrery/base/error.h"

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

namespace base {

void assertion_failed(const char* condition, const char* file, int line,
                      const std::string& message) {
  throw Error(concat("internal error at ", file, ":", line, ": ", message,
                     message.empty() ? "" : " ", "(", condition,
                     " is false); please report it with the log"));
}

}  // namespace base

}  // namespace orrery
