// `orrery report`: one page about one run or several.
#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <optional>
#include <thread>

#include "commands.h"
#include "orrery/base/clock.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/config/report_commands.h"
#include "orrery/report/page.h"
#include "run_views.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kHelp =
    R"(orrery report: one page about runs, for a browser; it loads nothing from anywhere

  orrery report RUN [RUN...] [--out report.html] [--samples STEP[-STEP]] [--follow]

RUN: a run directory, also one that is still being written. The page has the curves of all metrics
with the runs over each other, evaluations, the time of calls and phases, what the workers did and
hold, the graph with its layouts, the configurations and how they differ, warnings, and the answers.

)";

std::string now_text() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  ::localtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

report::PageOptions page_options(const std::string& title) {
  return {.title = title, .made = now_text(), .program = ORRERY_VERSION, .sample_rule = {}};
}

/// The runs of a report; each is read on from where it was.
class Runs {
 public:
  explicit Runs(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
      readers_.emplace_back(path);
      paths_.push_back(path);
    }
    plans_.resize(paths.size());
  }

  std::vector<report::ReportRun> read(const report::SampleLimits& limits) {
    std::vector<report::ReportRun> runs;
    for (size_t i = 0; i < readers_.size(); ++i) {
      report::ReportRun run;
      run.record = readers_[i].update();
      if (base::is_folder(paths_[i])) {
        run.workers = report::read_worker_times(paths_[i], report::kWholeTrace);
        run.samples = report::index_samples(paths_[i]);
        run.chosen = report::choose_samples(run.samples.places, limits);
        if (!plans_[i] && base::exists(fs::path(paths_[i]) / "config.cfg")) {
          plans_[i] = plan_facts(paths_[i], static_cast<int>(run.workers.size()));
        }
        if (plans_[i]) run.plan = *plans_[i];
      }
      runs.push_back(std::move(run));
    }
    return runs;
  }

 private:
  std::vector<report::RunReader> readers_;
  std::vector<std::string> paths_;
  std::vector<std::optional<report::PlanFacts>> plans_;
};

bool has_content(const report::ReportRun& run) {
  return run.record.has_metrics() || !run.samples.places.empty();
}

bool goes_on(const std::vector<report::ReportRun>& runs) {
  return std::any_of(runs.begin(), runs.end(), [](const report::ReportRun& run) {
    return run.record.state == report::RunState::kGoingOn;
  });
}

std::string title_of(const config::ReportOptions& options,
                     const std::vector<report::ReportRun>& runs) {
  if (!options.title.empty()) return options.title;
  std::vector<std::string> names;
  for (const report::ReportRun& run : runs) names.push_back(run.record.name);
  return base::join(names, ", ");
}

/// Says what was read and left out; on standard error, as every other word of a command.
void say_what(const std::string& out, size_t bytes, const std::vector<report::ReportRun>& runs) {
  for (const report::ReportRun& run : runs) {
    const int64_t damaged = run.record.n_problems + run.samples.n_problems;
    if (damaged > 0) {
      const std::string& first =
          run.record.problems.empty() ? run.samples.problems.front() : run.record.problems.front();
      base::log_warning(base::concat(run.record.name, ": ", base::counted(damaged, "damaged line"),
                                     " left out; the first: ", first));
    }
    if (!has_content(run)) {
      base::log_warning(base::concat(run.record.name, ": no metrics and no samples yet"));
    }
  }
  std::cout << out << ": " << base::bytes_text(static_cast<int64_t>(bytes));
  for (const report::ReportRun& run : runs) {
    std::cout << "; " << run.record.name << ": "
              << base::counted(run.record.curves.size(), "metric") << ", " << run.chosen.size()
              << " of " << base::counted(run.samples.places.size(), "answer");
  }
  std::cout << std::endl;
}

constexpr size_t kMostPageBytes = 60'000'000;

void write_main_page(const config::ReportOptions& options, std::vector<report::ReportRun> runs,
                     report::SampleLimits limits) {
  report::PageOptions page = page_options(title_of(options, runs));
  if (options.follow && goes_on(runs)) {
    page.refresh_seconds = static_cast<int>(options.every_seconds);
  }
  for (;;) {
    page.sample_rule = report::choice_text(limits);
    const std::string html = report::page_html(runs, page);
    if (html.size() <= kMostPageBytes || limits.bytes < 100'000) {
      base::publish_file(options.out, html);
      say_what(options.out, html.size(), runs);
      return;
    }
    limits.bytes /= 2;  // texts that grow when they are escaped
    for (report::ReportRun& run : runs) {
      run.chosen = report::choose_samples(run.samples.places, limits);
    }
  }
}

/// Pages with all answers of the steps, as many as it takes.
void write_sample_pages(const config::ReportOptions& options, const std::string& path,
                        const std::string& name, const report::SampleLimits& limits) {
  const auto [first, last] = *options.samples;
  report::ReportRun run;
  run.record.root = path;
  run.record.name = name;
  run.samples = report::index_samples(path, {.first = first, .last = last});
  const std::string steps = first == last ? std::to_string(first) : base::concat(first, "-", last);
  if (run.samples.places.empty()) {
    throw ConfigError(base::concat(path, ": no recorded answers of steps ", steps),
                      {.expected = "steps that samples/ has files of",
                       .got = "none of them",
                       .advice = "leave out --samples, or look at the names of the files"});
  }
  const std::string stem = options.out.substr(0, options.out.rfind('.'));
  const std::string of_run = options.runs.size() > 1 ? "." + name : "";
  size_t place = 0;
  for (int part = 1; place < run.samples.places.size(); ++part) {
    run.chosen.clear();
    for (uint64_t bytes = 0; place < run.samples.places.size(); ++place) {
      bytes += run.samples.places[place].length;
      if (!run.chosen.empty() && (run.chosen.size() == limits.samples || bytes > limits.bytes))
        break;
      run.chosen.push_back(place);
    }
    report::PageOptions page = page_options(base::concat(name, ": answers of steps ", steps));
    page.sample_rule = base::concat("all of steps ", steps, ", part ", part);
    const std::string html = report::page_html({run}, page);
    const std::string file = base::concat(stem, of_run, ".samples-", steps,
                                          part > 1 ? base::concat(".part", part) : "", ".html");
    base::publish_file(file, html);
    std::cout << file << ": " << base::bytes_text(static_cast<int64_t>(html.size())) << ", "
              << base::counted(run.chosen.size(), "answer") << std::endl;
  }
}

}  // namespace

int run_report(std::span<const std::string> arguments) {
  const config::ReportOptions options = config::parse_report_options(arguments);
  if (options.help) {
    std::cout << kHelp << config::report_options_help();
    return 0;
  }
  report::SampleLimits limits;
  limits.bytes /= options.runs.size();  // of all runs together
  limits.samples /= options.runs.size();
  Runs runs(options.runs);
  for (;;) {
    const std::vector<report::ReportRun> now = runs.read(limits);
    const bool is_empty = std::none_of(now.begin(), now.end(), has_content);
    if (is_empty && !(options.follow && goes_on(now))) {
      throw ConfigError(base::concat(base::join(options.runs, ", "), ": nothing to report"),
                        {.expected = "metrics.jsonl or samples/ with at least one whole line",
                         .got = "none",
                         .advice = "wait for the first step, or begin with --follow once it runs"});
    }
    if (!is_empty) write_main_page(options, now, limits);
    if (!options.follow || !goes_on(now)) {
      for (size_t i = 0; options.samples && i < now.size(); ++i) {
        write_sample_pages(options, options.runs[i], now[i].record.name, limits);
      }
      return 0;
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(options.every_seconds));
  }
}

}  // namespace orrery::cli
