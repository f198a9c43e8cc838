// Small text functions: building messages, taking lists apart, guessing what was meant.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::base {

/// All arguments as `<<` prints them, joined without separator.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return std::move(out).str();
}

/// Elements with `separator` between them.
template <class Range>
std::string join(const Range& parts, std::string_view separator) {
  std::ostringstream out;
  bool first = true;
  for (const auto& part : parts) {
    if (!first) out << separator;
    out << part;
    first = false;
  }
  return std::move(out).str();
}

/// Pieces between separators, empty ones included; an empty text has one empty piece.
std::vector<std::string> split(std::string_view text, char separator);

/// Without spaces, tabs and line ends at both ends.
std::string_view trim(std::string_view text);

/// The candidate with the smallest edit distance, if it is close enough to be a typing error.
std::optional<std::string> nearest(std::string_view name, std::span<const std::string> candidates);

/// `512 B`, `1.5 KiB`, `3.2 GiB`.
std::string bytes_text(int64_t bytes);

/// `step-00000040`: name of what belongs to step 40 (counted from 1), in the order of the steps.
std::string step_name(int64_t step);

/// `0.4 s`, `12 s`, `3m05s`, `2h07m`.
std::string duration_text(std::chrono::duration<double> duration);

}  // namespace orrery::base
