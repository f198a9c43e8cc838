#include "orrery/metrics/trace.h"

#include <gtest/gtest.h>
#include <sys/resource.h>  // RLIMIT_FSIZE
#include <unistd.h>

#include <barrier>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

namespace orrery::metrics {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class TraceFile : public testing::Test {
 protected:
  TraceFile() {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    file_ = fs::temp_directory_path() /
            (std::string("orrery_trace_") + info->name() + "_" + std::to_string(getpid()));
  }
  ~TraceFile() override { fs::remove(file_); }

  /// The events as a viewer reads them: the missing end of the array is supplied.
  Json events() const {
    std::ifstream in(file_, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(in)), {});
    text.erase(text.find_last_not_of(",\n") + 1);
    return Json::parse(text + "]");
  }

  fs::path file_;
};

TEST_F(TraceFile, CanBeReadWhileTheWriterIsOpen) {
  TraceWriter writer(file_, 3, "worker 3 on n1");
  EXPECT_EQ(events().size(), 2u);  // the process's name and place

  writer.write({.name = "actor_gen",
                .category = "call",
                .start_us = 100,
                .duration_us = 50,
                .arguments = {{"step", "12"}}});

  const Json event = events().back();
  EXPECT_EQ(event, Json::parse(R"({"ph":"X","name":"actor_gen","cat":"call","ts":100,"dur":50,
                                   "pid":3,"tid":0,"args":{"step":"12"}})"));
}

TEST_F(TraceFile, ASpanCoversItsScope) {
  TraceWriter writer(file_, 0, "worker 0");
  {
    const TraceSpan span(&writer, "hook", "param_realloc");
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  const Json event = events().back();
  EXPECT_EQ(event["cat"], "hook");
  EXPECT_GE(event["dur"].get<int64_t>(), 5000);
  EXPECT_NEAR(event["ts"].get<double>(), static_cast<double>(TraceWriter::now_us()), 60e6);
}

TEST_F(TraceFile, ASpanWithoutAWriterDoesNothing) {
  EXPECT_NO_THROW({ const TraceSpan span(nullptr, "hook", "param_realloc"); });
  EXPECT_FALSE(std::filesystem::exists(file_));
}

TEST_F(TraceFile, ThreadsGetTracksOfTheirOwnAndLinesStayWhole) {
  constexpr int kRounds = 50, kThreads = 8, kSpans = 10;
  TraceWriter writer(file_, 0, "worker 0");
  for (int round = 0; round < kRounds; ++round) {
    std::barrier start(kThreads);  // all new tracks at the same moment
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        start.arrive_and_wait();
        for (int i = 0; i < kSpans; ++i) TraceSpan(&writer, "call", "work");
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  std::map<int, int> spans_by_track;
  for (const Json& event : events()) {
    if (event["ph"] == "X") ++spans_by_track[event["tid"].get<int>()];
  }
  EXPECT_GE(spans_by_track.size(), static_cast<size_t>(kThreads));
  int spans = 0;
  for (const auto& [track, n] : spans_by_track) {
    EXPECT_EQ(n % kSpans, 0) << "track " << track << " was shared by two threads at once";
    spans += n;
  }
  EXPECT_EQ(spans, kRounds * kThreads * kSpans);
}

TEST_F(TraceFile, ANamedTrackIsOneForAllSpansOfItsName) {
  TraceWriter writer(file_, 0, "worker 0");
  for (const char* track : {"reward", "", "format", "reward"}) {
    writer.write({.name = "x", .category = "judge", .track = track});
  }

  std::vector<int> tracks;
  std::map<std::string, int> names;
  for (const Json& event : events()) {
    if (event["ph"] == "X") tracks.push_back(event["tid"].get<int>());
    if (event["name"] == "thread_name") names[event["args"]["name"]] = event["tid"].get<int>();
  }

  EXPECT_EQ(tracks, (std::vector<int>{names.at("reward"), 0, names.at("format"), tracks[0]}));
  EXPECT_NE(names.at("reward"), names.at("format"));
}

TEST_F(TraceFile, AFileThatCannotBeMadeEndsTheTraceAndNotTheJob) {
  TraceWriter writer(file_ / "no_such_folder" / "trace.json", 0, "worker 0");

  EXPECT_NO_THROW(writer.write({.name = "x", .category = "call"}));
}

TEST_F(TraceFile, AFullDiskEndsTheTraceWithWholeLines) {
  // A limit on the size of files stands for the full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit limited{.rlim_cur = 1000, .rlim_max = before.rlim_max};
  {
    TraceWriter writer(file_, 0, "worker 0");
    setrlimit(RLIMIT_FSIZE, &limited);
    for (int i = 0; i < 100; ++i) writer.write({.name = "some_call", .category = "call"});
    setrlimit(RLIMIT_FSIZE, &before);
    writer.write({.name = "too_late", .category = "call"});
  }

  EXPECT_LE(fs::file_size(file_), 1000u);
  EXPECT_GE(events().size(), 3u);
  EXPECT_NE(events().back()["name"], "too_late");
}

}  // namespace
}  // namespace orrery::metrics
