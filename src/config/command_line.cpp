#include "orrery/config/command_line.h"

#include <algorithm>

#include "argument_parser.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::config {

namespace po = boost::program_options;

namespace {

constexpr int kMaxWorkers = 1'000'000;  // a typing error shall not fill the memory

void add_sets(po::options_description& description, std::vector<std::string>& sets) {
  description.add_options()("set", po::value(&sets)->value_name("K=V")->composing(),
                            "override a configuration key; may be repeated");
}

po::options_description train_description(TrainOptions& options) {
  po::options_description description("options");
  auto add = description.add_options();
  add_sets(description, options.sets);
  add("resume", po::value(&options.resume)->value_name("auto|off|DIR")->default_value("auto"),
      "go on from the last checkpoint of this experiment (auto), start anew (off), or go on from "
      "that of a run directory");
  add("accept", po::value(&options.accept)->value_name("KEY[,KEY...]")->composing(),
      "going on from a checkpoint, change these keys, which change what is trained");
  add("help,h", po::bool_switch(&options.help), "options and configuration keys");
  add("markdown", po::bool_switch(&options.markdown), "with --help: as docs/configuration.md");
  add("metrics-markdown", po::bool_switch(&options.metrics_markdown),
      "with --help: as docs/metrics.md");
  add("config", po::value(&options.config)->value_name("CONFIG"), "the configuration file");
  return description;
}

po::options_description evaluate_description(EvaluateOptions& options) {
  po::options_description description("options");
  auto add = description.add_options();
  add("model", po::value(&options.model)->value_name("DIR"),
      "what is evaluated: a model directory, or a run's models/latest, models/best or "
      "models/step-NUMBER; without it what model.ROLE.path names");
  add_sets(description, options.sets);
  add("name", po::value(&options.name)->value_name("NAME"),
      "name of the run directory; without it experiment.name with -evaluation behind it");
  add("help,h", po::bool_switch(&options.help), "these options");
  add("config", po::value(&options.config)->value_name("CONFIG"),
      "the configuration file, as for train");
  return description;
}

po::options_description plan_description(PlanOptions& options) {
  po::options_description description("options");
  auto add = description.add_options();
  add_sets(description, options.sets);
  add("workers", po::value(&options.workers)->value_name("N"),
      "number of workers; without it as many as the layouts name");
  add("no-data", po::bool_switch(&options.no_data), "do not read the data files");
  add("memory-gb", po::value(&options.memory_gb)->value_name("GB"),
      "memory of a node, in GiB, to compare with what the workers need; without it this machine's");
  add("device", po::value(&options.device)->value_name("cpu|cuda")->default_value("cpu"),
      "cuda: memory of each GPU by phase, and whether it fits; needs no GPU");
  const auto add_gb = [&](const char* name, double& value, const char* text) {
    add(name, po::value(&value)->value_name("GB")->default_value(value, base::concat(value)), text);
  };
  add_gb("gpu-memory-gb", options.gpu_memory_gb, "memory of a GPU, in GB (10^9 bytes)");
  add_gb("gpu-context-gb", options.gpu_context_gb, "of it for CUDA's context");
  add_gb("gpu-cublas-gb", options.gpu_cublas_gb, "of it for cuBLAS");
  add_gb("gpu-nccl-gb", options.gpu_nccl_gb, "of it for NCCL, with more than one worker");
  add_gb("gpu-graphs-gb", options.gpu_graphs_gb, "of it for CUDA graphs");
  add("help,h", po::bool_switch(&options.help), "options and configuration keys");
  add("config", po::value(&options.config)->value_name("CONFIG"), "the configuration file");
  return description;
}

/// Throws ConfigError for a device or a size that cannot be.
void check_gpu(const PlanOptions& options) {
  if (options.device != "cpu" && options.device != "cuda") {
    throw ConfigError(
        base::concat("orrery plan: --device must be cpu or cuda, got ", options.device));
  }
  const std::pair<const char*, double> sizes[] = {{"memory", options.gpu_memory_gb},
                                                  {"context", options.gpu_context_gb},
                                                  {"cublas", options.gpu_cublas_gb},
                                                  {"nccl", options.gpu_nccl_gb},
                                                  {"graphs", options.gpu_graphs_gb}};
  for (const auto& [name, gb] : sizes) {
    if (gb >= 0 && gb < 1e6) continue;
    throw ConfigError(
        base::concat("orrery plan: --gpu-", name, "-gb must be at least 0, got ", gb));
  }
}

}  // namespace

TrainOptions parse_train_options(std::span<const std::string> arguments) {
  TrainOptions options;
  parse_arguments(arguments, train_description(options), "orrery train", "config");
  if (options.config.empty() && !options.help) {
    throw ConfigError("orrery train: no configuration file given; write orrery train CONFIG");
  }
  std::vector<std::string> keys;
  for (const std::string& list : options.accept) {
    for (size_t begin = 0; begin <= list.size();) {
      const size_t end = std::min(list.find(',', begin), list.size());
      std::string key = list.substr(begin, end - begin);
      key.erase(0, key.find_first_not_of(' '));
      key.erase(key.find_last_not_of(' ') + 1);
      if (!key.empty()) keys.push_back(std::move(key));
      begin = end + 1;
    }
  }
  options.accept = std::move(keys);
  return options;
}

EvaluateOptions parse_evaluate_options(std::span<const std::string> arguments) {
  EvaluateOptions options;
  const po::variables_map given =
      parse_arguments(arguments, evaluate_description(options), "orrery evaluate", "config");
  if (options.config.empty() && !options.help) {
    throw ConfigError(
        "orrery evaluate: no configuration file given; write orrery evaluate CONFIG --model DIR");
  }
  for (const char* option : {"model", "name"}) {
    if (given.count(option) == 0 || !given[option].as<std::string>().empty()) continue;
    throw ConfigError(base::concat("orrery evaluate: --", option, " is empty"));
  }
  return options;
}

PlanOptions parse_plan_options(std::span<const std::string> arguments) {
  PlanOptions options;
  const po::variables_map given =
      parse_arguments(arguments, plan_description(options), "orrery plan", "config");
  if (options.config.empty() && !options.help) {
    throw ConfigError("orrery plan: no configuration file given; write orrery plan CONFIG");
  }
  if (given.count("workers") > 0 && (options.workers < 1 || options.workers > kMaxWorkers)) {
    throw ConfigError(base::concat("orrery plan: --workers must be 1 to ", kMaxWorkers, ", got ",
                                   options.workers));
  }
  if (given.count("memory-gb") > 0 && !(options.memory_gb > 0 && options.memory_gb < 1e9)) {
    throw ConfigError(
        base::concat("orrery plan: --memory-gb must be above 0, got ", options.memory_gb));
  }
  check_gpu(options);
  return options;
}

std::string train_options_help() {
  TrainOptions options;
  return text_of(train_description(options));
}

std::string evaluate_options_help() {
  EvaluateOptions options;
  return text_of(evaluate_description(options));
}

std::string plan_options_help() {
  PlanOptions options;
  return text_of(plan_description(options));
}

}  // namespace orrery::config
