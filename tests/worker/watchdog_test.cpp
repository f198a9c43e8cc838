#include "orrery/worker/watchdog.h"

#include <gtest/gtest.h>

#include <fstream>
#include <future>

#include "mutated_text.h"

namespace orrery::worker {
namespace {

using std::chrono_literals::operator""ms;

struct StateFolder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("orrery-watchdog-" + std::to_string(::getpid()));
  StateFolder() { std::filesystem::create_directories(path); }
  ~StateFolder() { std::filesystem::remove_all(path); }
};

WatchdogOptions options_for(const StateFolder& folder, std::promise<std::string>& stalled) {
  return {.directory = folder.path,
          .worker = 0,
          .n_workers = 2,
          .host = "n1",
          .interval = 5ms,
          .deadline = 60ms,
          .on_stall = [&stalled](const std::string& report) { stalled.set_value(report); }};
}

TEST(WorkerState, ReadsBackWhatWasWritten) {
  StateFolder folder;

  write_state(state_file(folder.path, 3), {3, "n1", "barrier on workers", {1, 2}, 4.5, 77});
  const auto state = read_state(state_file(folder.path, 3));

  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->operation, "barrier on workers");
  EXPECT_EQ(state->peers, (std::vector{1, 2}));
  EXPECT_EQ(state->progress, 77u);
}

TEST(WorkerState, IsAbsentWhenTornOrMissing) {
  StateFolder folder;
  std::ofstream(state_file(folder.path, 1)) << "{\"worker\": 1, \"ho";

  EXPECT_FALSE(read_state(state_file(folder.path, 1)).has_value());
  EXPECT_FALSE(read_state(state_file(folder.path, 2)).has_value());
  std::ofstream(state_file(folder.path, 3)) << "{\"worker\": " << deep_json() << "}";
  EXPECT_FALSE(read_state(state_file(folder.path, 3)).has_value());
}

TEST(Watchdog, ReportsWhoWaitsOnWhomWhenNoPeerMoves) {
  StateFolder folder;
  write_state(state_file(folder.path, 1), {1, "n2", "", {}, 0, 5});
  comm::Activity activity;
  std::promise<std::string> stalled;
  auto report = stalled.get_future();
  const std::vector<int> peers = {1};
  const comm::Activity::Waiting waiting(&activity, "all_reduce", "actor.0/data0", peers);

  const Watchdog watchdog(activity, options_for(folder, stalled));

  ASSERT_EQ(report.wait_for(5000ms), std::future_status::ready);
  const std::string text = report.get();
  EXPECT_NE(text.find("worker 0 on n1: all_reduce on actor.0/data0, waits for worker 1"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("worker 1 on n2: busy"), std::string::npos) << text;
}

TEST(Watchdog, WaitsAsLongAsAPeerMoves) {
  StateFolder folder;
  comm::Activity activity;
  std::promise<std::string> stalled;
  auto report = stalled.get_future();
  const std::vector<int> peers = {1};
  const comm::Activity::Waiting waiting(&activity, "all_reduce", "actor.0/data0", peers);

  const Watchdog watchdog(activity, options_for(folder, stalled));
  for (uint64_t progress = 0; progress < 60; ++progress) {  // 300 ms, five deadlines
    write_state(state_file(folder.path, 1), {1, "n2", "", {}, 0, progress});
    std::this_thread::sleep_for(5ms);
  }

  EXPECT_EQ(report.wait_for(0ms), std::future_status::timeout);
}

TEST(Watchdog, NoticesAMasterThatHangs) {
  StateFolder folder;
  comm::Activity activity, of_master;
  std::promise<std::string> stalled, never;
  auto report = stalled.get_future();
  const std::vector<int> peers = {kMaster};
  const comm::Activity::Waiting waiting(&activity, "next request", "the control channel", peers);
  auto options = options_for(folder, never);
  options.worker = kMaster;
  auto of_worker = options_for(folder, stalled);
  of_worker.deadline = 300ms;
  std::promise<void> hang;
  std::thread master([&, hangs = hang.get_future()] {
    const Watchdog watchdog(of_master, options);
    for (const auto end = std::chrono::steady_clock::now() + 1500ms;
         std::chrono::steady_clock::now() < end;) {
    }  // busy, as one that polls for replies
    hangs.wait();
  });

  const Watchdog watchdog(activity, of_worker);

  EXPECT_EQ(report.wait_for(1200ms), std::future_status::timeout);  // four deadlines: it moves
  EXPECT_EQ(report.wait_for(5000ms), std::future_status::ready);
  const std::string text = report.get();
  EXPECT_NE(text.find("no progress of the master that worker 0 waits for"), std::string::npos)
      << text;
  EXPECT_NE(text.find("worker 0 on n1: next request on the control channel, waits for the master"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("the master on n1: busy"), std::string::npos) << text;
  hang.set_value();
  master.join();
}

TEST(Watchdog, LeavesAWorkerAloneThatWaitsForNobody) {
  StateFolder folder;
  comm::Activity activity;
  std::promise<std::string> stalled;
  auto report = stalled.get_future();

  const Watchdog watchdog(activity, options_for(folder, stalled));

  EXPECT_EQ(report.wait_for(300ms), std::future_status::timeout);
}

}  // namespace
}  // namespace orrery::worker
