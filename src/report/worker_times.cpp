#include "orrery/report/worker_times.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"

namespace orrery::report {

namespace fs = std::filesystem;

namespace {

struct Span {
  int64_t begin_us = 0;
  int64_t end_us = 0;
};

/// Length of the union.
double seconds_of(std::vector<Span>& spans) {
  std::sort(spans.begin(), spans.end(),
            [](const Span& a, const Span& b) { return a.begin_us < b.begin_us; });
  int64_t sum = 0;
  int64_t end = INT64_MIN;
  for (const Span& span : spans) {
    const int64_t begin = std::max(span.begin_us, end);
    if (span.end_us > begin) sum += span.end_us - begin;
    end = std::max(end, span.end_us);
  }
  return static_cast<double>(sum) * 1e-6;
}

class TraceReader {
 public:
  void add(std::string_view line) {
    if (line.ends_with(',')) line.remove_suffix(1);
    const auto parsed = base::parse_json(line);
    if (!parsed.problem.empty() || !parsed.value.is_object()) return;
    try {
      add_event(parsed.value);
    } catch (const nlohmann::json::exception&) {
      return;  // an event of another form is no span
    }
  }
  WorkerTimes take() {
    for (auto& [step, spans] : busy_) times_.busy_seconds.put(step, seconds_of(spans));
    return std::move(times_);
  }

 private:
  void add_event(const nlohmann::json& event) {
    const auto phase = event.at("ph").get<std::string>();
    const auto name = event.at("name").get<std::string>();
    const nlohmann::json arguments = event.value("args", nlohmann::json::object());
    if (phase == "M" && name == "process_name") {
      times_.name = arguments.at("name").get<std::string>();
    } else if (phase == "C" && name == "resident_bytes" && step_ >= 0) {
      const double value = arguments.at("value").get<double>();
      Curve& curve = times_.resident_bytes;
      if (curve.steps.empty() || curve.steps.back() != step_ || curve.values.back() < value) {
        curve.put(step_, value);
      }
    } else if (phase == "X" && arguments.contains("step") && event.value("cat", "") != "gpu") {
      const auto begin = event.at("ts").get<int64_t>();
      const auto duration = event.at("dur").get<int64_t>();
      step_ = std::atoll(arguments.at("step").get<std::string>().c_str());
      // Evaluations and what is saved lie between steps.
      const bool is_of_step = name != "evaluate" && name != "export" && !name.starts_with("save");
      if (is_of_step) busy_[step_].push_back({begin, begin + duration});
      const std::string call = arguments.value("call", std::string());
      const std::string what = call.empty() || call == name ? name : base::concat(call, ": ", name);
      times_.of_span[what] += static_cast<double>(duration) * 1e-6;
    }
  }

  WorkerTimes times_;
  std::map<int64_t, std::vector<Span>> busy_;
  int64_t step_ = -1;
};

}  // namespace

WorkerTimes worker_times(std::string_view trace) {
  TraceReader reader;
  for (size_t begin = 0; begin < trace.size();) {
    const size_t end = std::min(trace.find('\n', begin), trace.size());
    if (end > begin + 1) reader.add(trace.substr(begin, end - begin));
    begin = end + 1;
  }
  return reader.take();
}

std::vector<WorkerTimes> read_worker_times(const fs::path& run, uint64_t most_bytes) {
  std::map<int64_t, fs::path> files;
  for (const fs::path& file : base::list_folder(run / "trace")) {
    const std::string name = file.filename().string();
    if (name.starts_with("worker-") && file.extension() == ".json") {
      files[std::atoll(name.c_str() + 7)] = file;
    }
  }
  std::vector<WorkerTimes> times;
  for (const auto& [worker, file] : files) {
    TraceReader reader;
    std::ifstream in(file, std::ios::binary);
    if (!in) throw OutputError(base::concat(file.string(), ": cannot be read"));
    const uint64_t size = base::file_size(file);
    bool in_head = size > most_bytes;  // of which only the worker's name is wanted
    for (std::string line; std::getline(in, line) && !in.eof();) {
      if (line.size() > 1) reader.add(line);
      if (!in_head || line.size() <= 1) continue;
      in_head = false;
      in.seekg(static_cast<std::streamoff>(size - most_bytes));
      std::getline(in, line);  // the rest of a line
    }
    times.push_back(reader.take());
    if (times.back().name.empty()) times.back().name = base::concat("worker ", worker);
  }
  return times;
}

}  // namespace orrery::report
