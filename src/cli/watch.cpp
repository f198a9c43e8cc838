// `orrery watch`: a run in the terminal while it goes on.
#include <chrono>
#include <filesystem>
#include <iostream>
#include <thread>

#include "commands.h"
#include "orrery/base/file.h"
#include "orrery/base/terminal.h"
#include "orrery/base/text.h"
#include "orrery/config/report_commands.h"
#include "orrery/report/watch_frame.h"
#include "run_views.h"

namespace orrery::cli {

namespace {

constexpr const char* kHelp = R"(orrery watch: a run in the terminal while it goes on

  orrery watch RUN [--metric NAME]... [--every S] [--once]

Curves, times of the calls, workers and the latest answers, anew every few seconds until the run has
ended. Where the output is no terminal it prints one picture.

)";

constexpr uint64_t kRecentTrace = 1 << 20;  // some thousand events: more than 20 steps

std::string frame_of(report::RunReader& reader, const config::WatchOptions& options,
                     report::RunState& state) {
  const report::RunRecord& run = reader.update();
  state = run.state;
  report::WatchOptions frame{
      .columns = options.columns > 0 ? options.columns : base::standard_output_columns(),
      .metrics = options.metrics};
  if (frame.metrics.empty()) frame.metrics = important_metrics(run, 4);
  const bool is_directory = base::is_folder(run.root);
  return report::watch_frame(
      run,
      is_directory ? report::read_worker_times(run.root, kRecentTrace)
                   : std::vector<report::WorkerTimes>{},
      is_directory ? report::latest_samples(run.root, 3) : std::vector<report::Sample>{}, frame);
}

}  // namespace

int run_watch(std::span<const std::string> arguments) {
  const config::WatchOptions options = config::parse_watch_options(arguments);
  if (options.help) {
    std::cout << kHelp << config::watch_options_help();
    return 0;
  }
  report::RunReader reader(options.run);
  const bool is_terminal = base::can_draw_on_standard_output();
  for (;;) {
    report::RunState state = report::RunState::kUnknown;
    const std::string frame = frame_of(reader, options, state);
    if (!is_terminal || options.once) {
      std::cout << frame << std::flush;
      return 0;
    }
    // From the top, each line cleared to its end, the rest of the screen after the last.
    std::string drawn = "\x1b[H";
    for (const char c : frame) drawn += c == '\n' ? std::string("\x1b[K\n") : std::string(1, c);
    std::cout << drawn << "\x1b[J" << std::flush;
    if (state != report::RunState::kGoingOn) return 0;
    std::this_thread::sleep_for(std::chrono::duration<double>(options.every_seconds));
  }
}

}  // namespace orrery::cli
