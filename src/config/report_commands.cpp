#include "orrery/config/report_commands.h"

#include <algorithm>
#include <charconv>

#include "argument_parser.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::config {

namespace po = boost::program_options;

namespace {

void require(bool holds, const std::string& command, const std::string& text) {
  if (!holds) throw ConfigError(base::concat(command, ": ", text, "; see ", command, " --help"));
}

po::options_description report_description(ReportOptions& options, std::string& samples) {
  po::options_description description("options");
  auto add = description.add_options();
  add("out,o", po::value(&options.out)->value_name("FILE")->default_value(options.out),
      "the page; it appears whole or not at all");
  add("title", po::value(&options.title)->value_name("TEXT"), "instead of the runs' names");
  add("samples", po::value(&samples)->value_name("STEP[-STEP]"),
      "also write pages with all answers of these steps, FILE.samples-A-B.html");
  add("follow", po::bool_switch(&options.follow), "write the page anew until the runs have ended");
  add("every",
      po::value(&options.every_seconds)->value_name("S")->default_value(options.every_seconds),
      "seconds between two pages of --follow");
  add("help,h", po::bool_switch(&options.help), "this text");
  return description;
}

po::options_description watch_description(WatchOptions& options) {
  po::options_description description("options");
  auto add = description.add_options();
  add("metric,m", po::value(&options.metrics)->value_name("NAME")->composing(),
      "a metric to draw, once for each; without it those that matter most");
  add("every",
      po::value(&options.every_seconds)->value_name("S")->default_value(options.every_seconds),
      "seconds between two pictures");
  add("once", po::bool_switch(&options.once), "one picture, as where the output is no terminal");
  add("columns", po::value(&options.columns)->value_name("N")->default_value(options.columns),
      "width in characters; 0: the terminal's, or 80");
  add("help,h", po::bool_switch(&options.help), "this text");
  return description;
}

po::options_description plot_description(PlotOptions& options) {
  po::options_description description("options");
  auto add = description.add_options();
  add("out,o", po::value(&options.out)->value_name("FILE"),
      "a picture, .svg or .png (for .png rsvg-convert must be installed); without it the terminal");
  add("smoothing", po::value(&options.smoothing)->value_name("W")->default_value(options.smoothing),
      "weight of what was before in a moving average, 0 to below 1");
  add("list", po::bool_switch(&options.list), "the names of the metrics that the runs have");
  add("columns", po::value(&options.columns)->value_name("N")->default_value(options.columns),
      "width in characters; 0: the terminal's, or 80");
  add("rows", po::value(&options.rows)->value_name("N")->default_value(options.rows),
      "height of a picture in characters");
  add("help,h", po::bool_switch(&options.help), "this text");
  return description;
}

po::options_description compare_description(CompareOptions& options) {
  po::options_description description("options");
  auto add = description.add_options();
  add("tolerance", po::value(&options.tolerance)->value_name("R")->default_value(options.tolerance),
      "relative difference up to which two values are the same; 0: bit for bit");
  add("times", po::bool_switch(&options.times), "compare times, rates and memory as well");
  add("all", po::bool_switch(&options.all), "list all metrics, the equal ones too");
  add("help,h", po::bool_switch(&options.help), "this text");
  return description;
}

/// The arguments with those that are no option under `positional`.
template <class Value>
void parse(std::span<const std::string> arguments, po::options_description description,
           const std::string& command, const char* positional, Value* value) {
  description.add_options()(positional, po::value(value));
  parse_arguments(arguments, description, command, positional, -1);
}

int64_t step_of(const std::string& text) {
  int64_t step = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), step);
  require(error == std::errc() && end == text.data() + text.size() && step >= 0, "orrery report",
          base::concat("--samples must be STEP or STEP-STEP, got '", text, "'"));
  return step;
}

std::optional<std::pair<int64_t, int64_t>> step_range(const std::string& text) {
  if (text.empty()) return std::nullopt;
  const size_t dash = text.find('-');
  const int64_t first = step_of(text.substr(0, dash));
  const int64_t last = dash == std::string::npos ? first : step_of(text.substr(dash + 1));
  require(first <= last, "orrery report",
          base::concat("--samples ", text, ": the first step is after the last"));
  return std::pair(first, last);
}

}  // namespace

ReportOptions parse_report_options(std::span<const std::string> arguments) {
  const std::string command = "orrery report";
  ReportOptions options;
  std::string samples;
  parse(arguments, report_description(options, samples), command, "run", &options.runs);
  if (options.help) return options;
  options.samples = step_range(samples);
  require(!options.runs.empty(), command, "RUN is missing");
  require(options.every_seconds >= 1, command, "--every must be at least 1 second");
  require(options.out.ends_with(".html") || options.out.ends_with(".htm"), command,
          base::concat("--out must end with .html, got '", options.out, "'"));
  return options;
}

WatchOptions parse_watch_options(std::span<const std::string> arguments) {
  const std::string command = "orrery watch";
  WatchOptions options;
  std::vector<std::string> runs;
  parse(arguments, watch_description(options), command, "run", &runs);
  if (options.help) return options;
  require(runs.size() == 1, command, "one RUN is needed");
  require(options.every_seconds >= 0.2, command, "--every must be at least 0.2 seconds");
  require(options.columns == 0 || options.columns >= 40, command, "--columns must be 40 or more");
  options.run = runs.front();
  return options;
}

PlotOptions parse_plot_options(std::span<const std::string> arguments) {
  const std::string command = "orrery plot";
  PlotOptions options;
  parse(arguments, plot_description(options), command, "run", &options.arguments);
  if (options.help) return options;
  require(!options.arguments.empty(), command, "RUN is missing");
  require(options.smoothing >= 0 && options.smoothing < 1, command,
          base::concat("--smoothing must be 0 to below 1, got ", options.smoothing));
  require(options.columns == 0 || options.columns >= 40, command, "--columns must be 40 or more");
  require(options.rows >= 3 && options.rows <= 200, command, "--rows must be 3 to 200");
  require(options.out.empty() || options.out.ends_with(".svg") || options.out.ends_with(".png"),
          command, base::concat("--out must end with .svg or .png, got '", options.out, "'"));
  return options;
}

CompareOptions parse_compare_options(std::span<const std::string> arguments) {
  const std::string command = "orrery compare";
  CompareOptions options;
  std::vector<std::string> runs;
  parse(arguments, compare_description(options), command, "run", &runs);
  if (options.help) return options;
  require(runs.size() == 2, command, "two runs are needed");
  require(options.tolerance >= 0, command, "--tolerance must not be below 0");
  options.a = runs[0];
  options.b = runs[1];
  return options;
}

std::string report_options_help() {
  ReportOptions options;
  std::string samples;
  return text_of(report_description(options, samples));
}
std::string watch_options_help() {
  WatchOptions options;
  return text_of(watch_description(options));
}
std::string plot_options_help() {
  PlotOptions options;
  return text_of(plot_description(options));
}
std::string compare_options_help() {
  CompareOptions options;
  return text_of(compare_description(options));
}

}  // namespace orrery::config
