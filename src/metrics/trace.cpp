#include "orrery/metrics/trace.h"

#include <utility>

#include "nvtx_range.h"
#include "orrery/base/clock.h"
#include "orrery/base/error.h"  // Error
#include "orrery/base/file.h"   // AppendFile
#include "orrery/base/json.h"
#include "orrery/base/log.h"   // log_warning
#include "orrery/base/text.h"  // concat

namespace orrery::metrics {

using Json = nlohmann::ordered_json;

namespace {

/// What a viewer is told of a process or a track: its name, or its place.
Json description(const char* name, int process, int track, Json arguments) {
  return {{"ph", "M"},
          {"name", name},
          {"pid", process},
          {"tid", track},
          {"args", std::move(arguments)}};
}

}  // namespace

TraceWriter::TraceWriter(const std::filesystem::path& file, int process,
                         std::string_view process_name)
    : process_(process) {
  try {
    std::filesystem::remove(file);  // a resumed run starts a new timeline
    file_ = std::make_unique<base::AppendFile>(file);
    file_->write("[\n");
  } catch (const std::exception& error) {
    file_.reset();
    base::log_warning(base::concat("no trace is written: ", error.what()));
  }
  write_line(base::json_line(
      description("process_name", process_, 0, Json{{"name", std::string(process_name)}})));
  write_line(base::json_line(
      description("process_sort_index", process_, 0, Json{{"sort_index", process_}})));
}

TraceWriter::~TraceWriter() = default;

int64_t TraceWriter::now_us() { return static_cast<int64_t>(base::wall_seconds() * 1e6); }

void TraceWriter::write_line(const std::string& line) {
  if (file_ == nullptr) return;
  try {
    file_->write(line + ",\n");  // one write per event: a kill tears at most the last line
  } catch (const std::exception& error) {
    file_.reset();
    base::log_warning(base::concat("the trace ends here: ", error.what()));
  }
}

int TraceWriter::track_of_this_thread() {
  const auto [place, is_new] =
      tracks_.emplace(std::this_thread::get_id(), static_cast<int>(tracks_.size()));
  return place->second;
}

int TraceWriter::track_named(const std::string& name) {
  constexpr int kFirst = 1000;  // behind those of threads
  const auto [place, is_new] =
      named_tracks_.emplace(name, kFirst + static_cast<int>(named_tracks_.size()));
  if (is_new) {
    write_line(
        base::json_line(description("thread_name", process_, place->second, Json{{"name", name}})));
  }
  return place->second;
}

void TraceWriter::write(const TraceEvent& event) {
  Json json = {{"ph", "X"},
               {"name", event.name},
               {"cat", event.category},
               {"ts", event.start_us},
               {"dur", event.duration_us},
               {"pid", process_}};
  const std::lock_guard lock(mutex_);
  json["tid"] = event.track.empty() ? track_of_this_thread() : track_named(event.track);
  for (const auto& [name, value] : event.arguments) json["args"][name] = value;
  write_line(base::json_line(json));
}

void TraceWriter::counter(std::string_view name, double value) {
  const std::string line = base::json_line(Json{{"ph", "C"},
                                                {"name", std::string(name)},
                                                {"ts", now_us()},
                                                {"pid", process_},
                                                {"args", {{"value", value}}}});
  const std::lock_guard lock(mutex_);
  write_line(line);
}

TraceSpan::TraceSpan(TraceWriter* writer, std::string_view category, std::string_view name,
                     TraceArguments arguments)
    : writer_(writer) {
  if (writer_ == nullptr) return;
  event_ = {.name = std::string(name),
            .category = std::string(category),
            .start_us = TraceWriter::now_us(),
            .arguments = std::move(arguments)};
  push_nvtx_range(base::concat(event_.category, ": ", event_.name));
  start_ = std::chrono::steady_clock::now();
}

TraceSpan::~TraceSpan() {
  if (writer_ == nullptr) return;
  pop_nvtx_range();
  // The wall clock may be set while the span lasts; its length comes from the steady one.
  const auto length = std::chrono::steady_clock::now() - start_;
  event_.duration_us = std::chrono::duration_cast<std::chrono::microseconds>(length).count();
  writer_->write(event_);
}

}  // namespace orrery::metrics
