// The arguments of the commands that work on a model: score, generate, convert, inspect, verify,
// doctor. Only what can be seen without the files is checked here.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace orrery::config {

/// What score and generate share.
struct ModelRunOptions {
  std::string model;           ///< a Hugging Face directory or an Orrery checkpoint
  std::string role = "actor";  ///< whose parameters, of a checkpoint
  std::string dtype = "fp32";  ///< fp32, fp64 or bf16
  std::string layout;          ///< empty: data parallel over all workers
  std::string out;             ///< `-`: standard output
  std::string tokens;          ///< file with {"sequences": [[ids], ...]}
  int threads = 0;             ///< of a rank; 0: all cores alone, one under mpirun
  double deadline_seconds = 3600;
  std::string device = "auto";  ///< auto, cpu or cuda
  bool check = false;           ///< refuse weights that are not finite
  bool help = false;
};

struct ScoreOptions {
  ModelRunOptions run;
  bool logits = false;
  int64_t batch_tokens = 4096;
};

struct GenerateOptions {
  ModelRunOptions run;
  std::string prompts;                ///< JSONL instead of run.tokens
  std::optional<std::string> prompt;  ///< text instead of both, `-`: lines of standard input; then
                                      ///< the answer is written as it comes, and run.out is empty
  std::string add_bos = "auto";       ///< auto, true or false: of prompts that are text
  bool chat = false;                  ///< prompts are messages of a user
  int64_t max_new_tokens = 0;
  int64_t min_new_tokens = 0;
  bool greedy = false;
  double temperature = 1;
  double top_p = 1;
  int64_t top_k = 0;  ///< 0 or -1: all
  uint64_t seed = 1;
  std::optional<std::vector<int64_t>> eos;  ///< nothing: the model's; empty: none
  int64_t max_batch = 256;

  bool reads_lines() const { return prompt == "-"; }
};

struct ConvertOptions {
  std::string from;
  std::string to;
  std::string role = "actor";
  std::string as = "auto";  ///< hf, checkpoint, or auto: the other of what `from` is
  std::string dtype;        ///< empty: as stored
  std::string layout;       ///< of a checkpoint's shards; empty: one
  int64_t max_shard_mb = 5000;
  bool overwrite = false;
  bool check = false;
  bool help = false;
};

struct InspectOptions {
  std::string path;
  bool help = false;
};

struct VerifyOptions {
  std::string path;
  bool check = false;
  bool help = false;
};

struct DoctorOptions {
  std::string directory = "runs";  ///< of runs: is it shared, how fast can it be written
  double seconds = 0.5;            ///< for each measurement
  int64_t write_mb = 64;
  bool help = false;
};

/// Throw ConfigError for an unknown, incomplete or impossible option.
ScoreOptions parse_score_options(std::span<const std::string> arguments);
GenerateOptions parse_generate_options(std::span<const std::string> arguments);
ConvertOptions parse_convert_options(std::span<const std::string> arguments);
InspectOptions parse_inspect_options(std::span<const std::string> arguments);
VerifyOptions parse_verify_options(std::span<const std::string> arguments);
DoctorOptions parse_doctor_options(std::span<const std::string> arguments);

/// The options' part of the help.
std::string score_options_help();
std::string generate_options_help();
std::string convert_options_help();
std::string inspect_options_help();
std::string verify_options_help();
std::string doctor_options_help();

}  // namespace orrery::config
