#include "orrery/worker/allocation.h"

#include <c10/util/Exception.h>

#include <cctype>
#include <new>  // bad_alloc
#include <string_view>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::worker {

std::optional<std::string> failed_allocation(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return "";
  // The allocator of CPUs throws a plain c10::Error: its text is all there is.
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  if (torch == nullptr) return std::nullopt;
  const std::string text = torch->what_without_backtrace();
  const bool is_memory = dynamic_cast<const c10::OutOfMemoryError*>(torch) != nullptr ||
                         text.find("can't allocate memory") != std::string::npos ||
                         text.find("not enough memory") != std::string::npos ||
                         text.find("out of memory") != std::string::npos;
  if (!is_memory) return std::nullopt;
  constexpr std::string_view kTried = "ried to allocate ";
  const size_t at = text.find(kTried);
  if (at == std::string::npos) return "";
  const std::string rest = text.substr(at + kTried.size(), 40);
  const std::string digits = rest.substr(0, rest.find_first_not_of("0123456789"));
  if (rest.substr(digits.size()).starts_with(" bytes") && !digits.empty() && digits.size() < 19) {
    return base::bytes_text(std::stoll(digits));
  }
  return rest.substr(0, rest.find(". "));  // of a GPU: `2.00 GiB`
}

void throw_no_memory(const AllocationPurpose& purpose, const std::string& size) {
  throw CallError(
      base::concat("there is no memory for ", purpose.what),
      {.expected = size.empty() ? std::string() : base::concat("another ", size),
       .got = "none",
       .advice = base::concat(purpose.advice, purpose.advice.empty() ? "start" : "; or start",
                              " fewer workers on a node; orrery plan CONFIG tells what each worker "
                              "will hold")});
}

}  // namespace orrery::worker
