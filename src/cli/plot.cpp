// `orrery plot`: metrics of runs as a picture or in the terminal.
#include "orrery/report/plot.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <set>

#include "commands.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/terminal.h"
#include "orrery/base/text.h"
#include "orrery/config/report_commands.h"
#include "run_views.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kHelp = R"(orrery plot: metrics of runs, over each other

  orrery plot RUN [RUN...] [METRIC...] [--out FILE.svg|.png] [--smoothing W]
  orrery plot RUN --list

RUN: a run directory or a metrics.jsonl. Arguments are runs as far as they are on disk, metrics from
then on; without METRIC those that matter most.

)";

/// Runs first, then metrics.
struct Arguments {
  std::vector<report::RunRecord> runs;
  std::vector<std::string> metrics;
};

Arguments sorted(const std::vector<std::string>& arguments) {
  Arguments result;
  for (const std::string& argument : arguments) {
    if (result.metrics.empty() && (result.runs.empty() || base::exists(argument))) {
      result.runs.push_back(read_run(argument));
    } else {
      result.metrics.push_back(argument);
    }
  }
  return result;
}

std::set<std::string> names_of(const std::vector<report::RunRecord>& runs) {
  std::set<std::string> names;
  for (const report::RunRecord& run : runs) {
    for (const auto& [name, curve] : run.curves) names.insert(name);
  }
  return names;
}

void check_metric(const std::string& metric, const std::set<std::string>& names) {
  if (names.contains(metric)) return;
  std::string text = base::concat("orrery plot: no run has a metric '", metric, "'");
  if (const auto meant = base::nearest(metric, std::vector(names.begin(), names.end()))) {
    text += base::concat("; did you mean '", *meant, "'?");
  }
  throw ConfigError(text + "; --list shows their names");
}

std::vector<report::Plot> plots_of(const Arguments& arguments, double smoothing) {
  std::vector<report::Plot> plots;
  for (const std::string& metric : arguments.metrics) {
    report::Plot plot{.title = metric, .series = {}};
    for (const report::RunRecord& run : arguments.runs) {
      const auto curve = run.curves.find(metric);
      if (curve == run.curves.end()) continue;
      plot.series.push_back({run.name, report::smoothed(curve->second, smoothing)});
    }
    plots.push_back(std::move(plot));
  }
  return plots;
}

/// Has rsvg-convert make `png` of an SVG. Throws ConfigError when it is not installed.
void write_png(const std::string& svg, const fs::path& png) {
  const fs::path source = base::free_name(png, ".svg");
  const fs::path made = base::free_name(png, ".part");
  base::publish_file(source, svg);
  std::string program = "rsvg-convert", to = "-o", output = made.string(), input = source.string();
  char* const words[] = {program.data(), to.data(), output.data(), input.data(), nullptr};
  pid_t process = 0;
  int status = -1;
  const int problem = ::posix_spawnp(&process, program.c_str(), nullptr, nullptr, words, ::environ);
  const bool is_done = problem == 0 && ::waitpid(process, &status, 0) == process && status == 0;
  std::error_code ignored;
  fs::remove(source, ignored);
  if (!is_done) {
    fs::remove(made, ignored);
    throw ConfigError(base::concat("orrery plot: ", png.string(), " cannot be made"),
                      {.expected = "rsvg-convert (Debian: librsvg2-bin), which draws it",
                       .got = problem == 0 ? "it failed" : "it is not installed",
                       .advice = "install it, or write .svg, which browsers show"});
  }
  base::publish_file(png, base::read_file(made));
  fs::remove(made, ignored);
}

}  // namespace

int run_plot(std::span<const std::string> arguments) {
  const config::PlotOptions options = config::parse_plot_options(arguments);
  if (options.help) {
    std::cout << kHelp << config::plot_options_help();
    return 0;
  }
  Arguments wanted = sorted(options.arguments);
  const std::set<std::string> names = names_of(wanted.runs);
  if (options.list) {
    for (const std::string& name : names) std::cout << name << "\n";
    return 0;
  }
  for (const report::RunRecord& run : wanted.runs) {
    if (run.n_problems > 0) std::cerr << run.name << ": " << run.problems.front() << "\n";
  }
  if (names.empty()) throw ConfigError("orrery plot: there are no metrics yet; wait for a step");
  for (const std::string& metric : wanted.metrics) check_metric(metric, names);
  if (wanted.metrics.empty()) wanted.metrics = important_metrics(wanted.runs.front(), 3);
  const auto plots = plots_of(wanted, options.smoothing);
  if (options.out.empty()) {
    for (const report::Plot& plot : plots) {
      std::cout << report::terminal_plot(
                       plot, {.columns = options.columns > 0 ? options.columns
                                                             : base::standard_output_columns(),
                              .rows = options.rows,
                              .colours = base::can_colour_standard_output()})
                << "\n";
    }
    return 0;
  }
  const std::string svg = report::svg_plots(plots, 900);
  if (options.out.ends_with(".png")) {
    write_png(svg, options.out);
  } else {
    base::publish_file(options.out, svg);
  }
  std::cout << options.out << "\n";
  return 0;
}

}  // namespace orrery::cli
