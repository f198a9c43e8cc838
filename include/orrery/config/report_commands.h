// The arguments of the commands that look at runs: report, watch, plot, compare. Only what can be
// seen without the files is checked here.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace orrery::config {

struct ReportOptions {
  std::vector<std::string> runs;
  std::string out = "report.html";
  std::string title;                                   ///< empty: the runs' names
  std::optional<std::pair<int64_t, int64_t>> samples;  ///< first and last step
  bool follow = false;
  double every_seconds = 30;
  bool help = false;
};

struct WatchOptions {
  std::string run;
  std::vector<std::string> metrics;  ///< empty: those that matter most
  double every_seconds = 2;
  bool once = false;
  int columns = 0;  ///< 0: the terminal's, or 80
  bool help = false;
};

struct PlotOptions {
  std::vector<std::string> arguments;  ///< runs, then metrics: which is which the disk tells
  std::string out;                     ///< .svg or .png; empty: the terminal
  double smoothing = 0;
  bool list = false;
  int columns = 0;  ///< 0: the terminal's, or 80
  int rows = 12;
  bool help = false;
};

struct CompareOptions {
  std::string a, b;
  double tolerance = 0;
  bool times = false;
  bool all = false;
  bool help = false;
};

/// Throw ConfigError for an unknown, incomplete or impossible option.
ReportOptions parse_report_options(std::span<const std::string> arguments);
WatchOptions parse_watch_options(std::span<const std::string> arguments);
PlotOptions parse_plot_options(std::span<const std::string> arguments);
CompareOptions parse_compare_options(std::span<const std::string> arguments);

/// The options' part of the help.
std::string report_options_help();
std::string watch_options_help();
std::string plot_options_help();
std::string compare_options_help();

}  // namespace orrery::config
