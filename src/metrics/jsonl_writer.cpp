#include "orrery/metrics/jsonl_writer.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <string_view>
#include <system_error>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // Error
#include "orrery/base/file.h"   // AppendFile, publish
#include "orrery/base/json.h"
#include "orrery/base/log.h"   // log_warning
#include "orrery/base/text.h"  // concat

namespace orrery::metrics {

namespace {

namespace fs = std::filesystem;

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
  using Json = nlohmann::ordered_json;  // the step comes first: step_of() looks there
  return base::json_line(Json{{"step", record.step},
                              {"time_s", record.time_s},
                              {"call", record.call ? Json(*record.call) : Json()},
                              {"metrics", Json(record.metrics)}});
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

void remove_torn_line(const fs::path& file) {
  if (!base::is_file(file)) return;
  const uint64_t size = base::file_size(file);
  std::ifstream in(file, std::ios::binary);
  constexpr std::streamoff kStep = 4096;
  std::streamoff end = static_cast<std::streamoff>(size);
  std::uintmax_t keep = 0;
  while (end > 0 && keep == 0) {
    const std::streamoff begin = std::max<std::streamoff>(0, end - kStep);
    std::string tail(static_cast<size_t>(end - begin), '\0');
    in.seekg(begin);
    if (!in.read(tail.data(), end - begin)) {
      throw OutputError(base::concat(file.string(), ": cannot be read"));
    }
    const size_t newline = tail.rfind('\n');
    if (newline != std::string::npos) keep = static_cast<std::uintmax_t>(begin) + newline + 1;
    end = begin;
  }
  if (keep == size) return;
  base::log_warning(base::concat(file.string(), ": removed a last line of ",
                                 base::counted(static_cast<int64_t>(size - keep), "byte"),
                                 " without its end"));
  fs::resize_file(file, keep);
}

int64_t drop_records_after(const fs::path& file, int64_t step) {
  if (!base::exists(file)) return 0;
  remove_torn_line(file);
  const std::string content = base::read_file(file);
  std::string kept;
  int64_t dropped = 0;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = content.find('\n', begin) + 1;  // there is one: torn lines are gone
    const std::string_view line = std::string_view(content).substr(begin, end - begin);
    if (step_of(line) > step) {
      ++dropped;
    } else {
      kept += line;
    }
    begin = end;
  }
  if (dropped > 0) base::publish_file(file, kept);
  return dropped;
}

}  // namespace orrery::metrics
