// The arguments of the subcommands. Boost.ProgramOptions reads them.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace orrery::config {

struct TrainOptions {
  std::string config;
  std::vector<std::string> sets;
  std::string resume = "auto";           ///< auto, off, or a run directory
  std::vector<std::string> accept = {};  ///< keys whose change a resumed run accepts
  bool help = false;
  bool markdown = false;          ///< with help: as docs/configuration.md
  bool metrics_markdown = false;  ///< with help: as docs/metrics.md
};

struct EvaluateOptions {
  std::string config;
  std::vector<std::string> sets;
  std::string model;  ///< directory of the evaluated role; empty: that of the configuration
  std::string name;   ///< of the run directory; empty: the experiment's with `-evaluation`
  bool help = false;
};

struct PlanOptions {
  std::string config;
  std::vector<std::string> sets;
  int workers = 0;       ///< 0: as many as the layouts name
  bool no_data = false;  ///< data files are not read
  double memory_gb = 0;  ///< of a node; 0: this machine's
  std::string device = "cpu";
  double gpu_memory_gb = 80;  ///< of a GPU, in GB (10^9 bytes)
  /// What a GPU loses beside what the program asks for, in GB.
  double gpu_context_gb = 0.6, gpu_cublas_gb = 0.1, gpu_nccl_gb = 1.0, gpu_graphs_gb = 0.4;
  bool help = false;
};

/// Throw ConfigError for an unknown or incomplete option, with the nearest known one.
TrainOptions parse_train_options(std::span<const std::string> arguments);
EvaluateOptions parse_evaluate_options(std::span<const std::string> arguments);
PlanOptions parse_plan_options(std::span<const std::string> arguments);

/// The options' part of the help.
std::string train_options_help();
std::string evaluate_options_help();
std::string plan_options_help();

}  // namespace orrery::config
