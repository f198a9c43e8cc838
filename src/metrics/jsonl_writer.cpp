#include "orrery/metrics/jsonl_writer.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <string_view>
#include <system_error>

#include "json_text.h"
#include "orrery/base/error.h"  // Error
#include "orrery/base/file.h"   // AppendFile, publish
#include "orrery/base/log.h"    // log_warning
#include "orrery/base/text.h"   // concat

namespace orrery::metrics {

namespace {

namespace fs = std::filesystem;

/// A run killed in the middle of a write leaves a line without its end, which no reader accepts.
void remove_torn_line(const fs::path& file) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  if (error || size == 0) return;
  std::ifstream in(file, std::ios::binary);
  constexpr std::streamoff kStep = 4096;
  std::streamoff end = static_cast<std::streamoff>(size);
  while (end > 0) {
    const std::streamoff begin = std::max<std::streamoff>(0, end - kStep);
    std::string tail(static_cast<size_t>(end - begin), '\0');
    in.seekg(begin);
    in.read(tail.data(), end - begin);
    const size_t newline = tail.rfind('\n');
    if (newline != std::string::npos) {
      const auto keep = static_cast<std::uintmax_t>(begin) + newline + 1;
      if (keep != size) {
        base::log_warning(base::concat(file.string(), ": removed a last line of ", size - keep,
                                       " bytes without its end"));
        fs::resize_file(file, keep);
      }
      return;
    }
    end = begin;
  }
  fs::resize_file(file, 0);
}

/// The step of a line in the form of metrics_line(), or -1.
int64_t step_of(std::string_view line) {
  constexpr std::string_view kStart = "{\"step\":";
  if (line.substr(0, kStart.size()) != kStart) return -1;
  int64_t step = -1;
  std::from_chars(line.data() + kStart.size(), line.data() + line.size(), step);
  return step;
}

}  // namespace

std::string metrics_line(const MetricsRecord& record) {
  std::string line = base::concat(
      "{\"step\":", record.step, ",\"time_s\":", json_number(record.time_s),
      ",\"call\":", record.call ? json_string(*record.call) : "null", ",\"metrics\":{");
  bool first = true;
  for (const auto& [name, value] : record.metrics) {
    if (!first) line += ",";
    first = false;
    line += json_string(name) + ":" + json_number(value);
  }
  return line + "}}";
}

JsonlWriter::JsonlWriter(const fs::path& file) {
  remove_torn_line(file);
  file_ = std::make_unique<base::AppendFile>(file);
}

JsonlWriter::~JsonlWriter() = default;

void JsonlWriter::write(const MetricsRecord& record) {
  for (const auto& [name, value] : record.metrics) {
    if (std::isfinite(value) || !warned_.insert(name).second) continue;
    base::log_warning(base::concat("metric ", name, " is not a finite number at step ", record.step,
                                   record.call ? " of call " + *record.call : "",
                                   "; written as null"));
  }
  file_->write(metrics_line(record) + "\n");
}

int64_t drop_records_after(const fs::path& file, int64_t step) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return 0;
  std::string kept, line;
  int64_t dropped = 0;
  while (std::getline(in, line)) {
    if (step_of(line) > step) {
      ++dropped;
    } else {
      kept += line + "\n";
    }
  }
  if (dropped > 0) base::publish_file(file, kept);
  return dropped;
}

}  // namespace orrery::metrics
