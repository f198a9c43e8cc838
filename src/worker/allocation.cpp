#include "orrery/worker/allocation.h"

#include <c10/util/Exception.h>

#include <cctype>
#include <new>  // bad_alloc
#include <string_view>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::worker {

namespace {

/// Of `text` what is between two others; empty: it lacks one.
std::string between(const std::string& text, std::string_view before, std::string_view after) {
  const size_t at = text.find(before);
  if (at == std::string::npos) return {};
  const size_t begin = at + before.size();
  const size_t end = text.find(after, begin);
  return end == std::string::npos ? std::string() : text.substr(begin, end - begin);
}

/// `3.10 MiB is free of 80.00 GiB; tensors take 70.00 GiB, ...`, from LibTorch's text.
std::string left_on_gpu(const std::string& text) {
  const std::string capacity = between(text, "total capacity of ", " of which ");
  const std::string left = between(text, " of which ", " is free");
  if (capacity.empty() || left.empty()) return {};
  std::string told = base::concat(left, " free of the GPU's ", capacity);
  const std::string held = between(text, "Of the allocated memory ", " is allocated by");
  const std::string unused = between(text, ", and ", " is reserved by");
  if (!held.empty()) told += base::concat("; tensors hold ", held);
  if (!unused.empty()) told += base::concat(", ", unused, " is kept for more of them");
  return told;
}

std::string size_in(const std::string& text) {
  constexpr std::string_view kTried = "ried to allocate ";
  const size_t at = text.find(kTried);
  if (at == std::string::npos) return {};
  const std::string rest = text.substr(at + kTried.size(), 40);
  const std::string digits = rest.substr(0, rest.find_first_not_of("0123456789"));
  if (rest.substr(digits.size()).starts_with(" bytes") && !digits.empty() && digits.size() < 19) {
    return base::bytes_text(std::stoll(digits));
  }
  return rest.substr(0, rest.find(". "));  // of a GPU: `2.00 GiB`
}

}  // namespace

std::optional<FailedAllocation> failed_allocation(const std::exception& error) {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return FailedAllocation{};
  // The allocator of CPUs throws a plain c10::Error: its text is all there is.
  const auto* torch = dynamic_cast<const c10::Error*>(&error);
  if (torch == nullptr) return std::nullopt;
  const std::string text = torch->what_without_backtrace();
  const bool is_on_gpu = dynamic_cast<const c10::OutOfMemoryError*>(torch) != nullptr ||
                         text.find("CUDA out of memory") != std::string::npos;
  const bool is_memory = is_on_gpu || text.find("can't allocate memory") != std::string::npos ||
                         text.find("not enough memory") != std::string::npos ||
                         text.find("out of memory") != std::string::npos;
  if (!is_memory) return std::nullopt;
  return FailedAllocation{.size = size_in(text), .is_on_gpu = is_on_gpu, .left = left_on_gpu(text)};
}

void throw_no_memory(const AllocationPurpose& purpose, const FailedAllocation& failed) {
  const std::string advice =
      failed.is_on_gpu
          ? base::concat(purpose.advice, purpose.advice.empty() ? "" : "; ",
                         "orrery plan CONFIG --device cuda tells what each GPU will hold")
          : base::concat(purpose.advice, purpose.advice.empty() ? "start" : "; or start",
                         " fewer workers on a node; orrery plan CONFIG tells what each worker "
                         "will hold");
  std::string got = failed.left.empty() ? "none" : failed.left;
  if (failed.is_on_gpu && !purpose.held.empty()) {
    got += base::concat("; there whatever runs: ", purpose.held);
  }
  throw CallError(
      base::concat("there is no memory ", failed.is_on_gpu ? "on the GPU " : "", "for ",
                   purpose.what),
      {.expected = failed.size.empty() ? std::string() : base::concat("another ", failed.size),
       .got = got,
       .advice = advice});
}

}  // namespace orrery::worker
