// JSON fragments for files that are written line by line.
#pragma once

#include <string>
#include <string_view>

namespace orrery::metrics {

/// `text` in quotation marks, escaped; bytes that are not UTF-8 become U+FFFD.
std::string json_string(std::string_view text);

/// Shortest text that reads back as the same double; `null` for numbers that are not finite.
std::string json_number(double value);

}  // namespace orrery::metrics
