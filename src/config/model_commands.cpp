#include "orrery/config/model_commands.h"

#include <algorithm>

#include "argument_parser.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::config {

namespace po = boost::program_options;

namespace {

constexpr int64_t kMaxCount = 1'000'000'000;
constexpr int64_t kTokensOfAPrompt = 256;  // new ones, where a person waits and said no number

/// One sentence for each impossible value, thrown together.
class Refusals {
 public:
  explicit Refusals(std::string command) : command_(std::move(command)) {}

  void require(bool holds, const std::string& text) {
    if (!holds) texts_.push_back(text);
  }
  void throw_if_any() const {
    if (texts_.empty()) return;
    throw ConfigError(
        base::concat(command_, ": ", base::join(texts_, "; "), "; see ", command_, " --help"));
  }

 private:
  std::string command_;
  std::vector<std::string> texts_;
};

void check_dtype(Refusals& refusals, const std::string& dtype) {
  refusals.require(dtype == "fp32" || dtype == "fp64" || dtype == "bf16",
                   base::concat("--dtype must be fp32, fp64 or bf16, got ", dtype));
}

void check_run(Refusals& refusals, const ModelRunOptions& run) {
  refusals.require(!run.model.empty(), "--model DIR is missing");
  check_dtype(refusals, run.dtype);
  refusals.require(run.device == "auto" || run.device == "cpu" || run.device == "cuda",
                   base::concat("--device must be auto, cpu or cuda, got ", run.device));
  refusals.require(run.threads >= 0 && run.threads <= 4096,
                   base::concat("--threads must be 0 to 4096, got ", run.threads));
  refusals.require(run.deadline_seconds > 0,
                   base::concat("--deadline must be above 0 seconds, got ", run.deadline_seconds));
}

void add_run_options(po::options_description& description, ModelRunOptions& run) {
  auto add = description.add_options();
  add("model", po::value(&run.model)->value_name("DIR"),
      "a Hugging Face directory or an Orrery checkpoint");
  add("role", po::value(&run.role)->value_name("NAME")->default_value(run.role),
      "whose parameters are taken from a checkpoint");
  add("tokens", po::value(&run.tokens)->value_name("F.json"),
      "the input: {\"sequences\": [[ids...], ...]}");
  add("out", po::value(&run.out)->value_name("F.json"),
      "the result; appears whole or not at all; - is standard output");
  add("layout", po::value(&run.layout)->value_name("L"),
      "layout over the workers, as d2t2p1@0-3; without it data parallel over all of them");
  add("dtype", po::value(&run.dtype)->value_name("fp32|fp64|bf16")->default_value(run.dtype),
      "what is computed in");
  add("device", po::value(&run.device)->value_name("auto|cpu|cuda")->default_value(run.device),
      "where to compute; auto: each worker's GPU where there are GPUs, else the CPU");
  add("check", po::bool_switch(&run.check), "refuse a model with weights that are not finite");
  add("threads", po::value(&run.threads)->value_name("N")->default_value(run.threads),
      "threads of each rank; 0: all cores for one process, one for a rank of several");
  add("deadline",
      po::value(&run.deadline_seconds)->value_name("S")->default_value(run.deadline_seconds),
      "seconds without any result after which the job is given up (exit code 4)");
  add("help,h", po::bool_switch(&run.help), "this text");
}

po::options_description score_description(ScoreOptions& options) {
  po::options_description description("options");
  add_run_options(description, options.run);
  auto add = description.add_options();
  add("logits", po::bool_switch(&options.logits),
      "also write \"logits\", [n][vocabulary] for each sequence");
  add("batch-tokens",
      po::value(&options.batch_tokens)->value_name("N")->default_value(options.batch_tokens),
      "tokens that are computed at a time, at most; a longer sequence goes alone");
  return description;
}

/// `--eos` as it is written: ids with commas, or -1.
po::options_description generate_description(GenerateOptions& options, std::string& prompt,
                                             std::string& eos) {
  po::options_description description("options");
  add_run_options(description, options.run);
  auto add = description.add_options();
  add("prompts", po::value(&options.prompts)->value_name("F.jsonl"),
      "instead of --tokens: lines {\"prompt\": \"text\"}, read by the model's tokenizer");
  add("prompt", po::value(&prompt)->value_name("TEXT"),
      "instead of both: its continuation goes to standard output as it comes; -: that of each line "
      "of standard input");
  add("add-bos",
      po::value(&options.add_bos)->value_name("auto|true|false")->default_value(options.add_bos),
      "whether prompts that are text get the tokenizer's beginning-of-sequence token; auto: as its "
      "own "
      "template does");
  add("chat", po::bool_switch(&options.chat),
      "each prompt is a message of a user, written by the chat template of the model's directory");
  add("max-new-tokens", po::value(&options.max_new_tokens)->value_name("N"),
      "tokens generated for a sequence, at most; 256 with --prompt, if it is left out");
  add("min-new-tokens",
      po::value(&options.min_new_tokens)->value_name("N")->default_value(options.min_new_tokens),
      "an end token cannot come before this many tokens");
  add("greedy", po::bool_switch(&options.greedy),
      "always the likeliest token; temperature, top-p, top-k and seed have no effect");
  add("temperature",
      po::value(&options.temperature)->value_name("T")->default_value(options.temperature),
      "logits are divided by it; 0 is greedy");
  add("top-p", po::value(&options.top_p)->value_name("P")->default_value(options.top_p),
      "draw among the likeliest tokens that together have this probability");
  add("top-k", po::value(&options.top_k)->value_name("K")->default_value(options.top_k),
      "draw among the K likeliest tokens; 0: all");
  add("seed", po::value(&options.seed)->value_name("S")->default_value(options.seed),
      "names the noise; a sequence's noise depends on seed and place in the input only");
  add("eos", po::value(&eos)->value_name("ID"),
      "end token, or several with commas; -1: none; without it the model's own");
  add("max-batch", po::value(&options.max_batch)->value_name("N")->default_value(options.max_batch),
      "sequences decoded at a time by a data rank");
  return description;
}

std::vector<int64_t> eos_ids(const std::string& text) {
  if (base::trim(text) == "-1") return {};
  std::vector<int64_t> ids;
  for (const std::string& piece : base::split(text, ',')) {
    const std::string id(base::trim(piece));
    const bool is_number =
        !id.empty() && id.size() < 10 &&
        std::all_of(id.begin(), id.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!is_number) {
      throw ConfigError(base::concat("orrery generate: --eos must be token ids or -1, got '", text,
                                     "'; see orrery generate --help"));
    }
    ids.push_back(std::stoll(id));
  }
  return ids;
}

po::options_description convert_description(ConvertOptions& options) {
  po::options_description description("options");
  auto add = description.add_options();
  add("from", po::value(&options.from)->value_name("DIR"),
      "a Hugging Face directory or an Orrery checkpoint");
  add("to", po::value(&options.to)->value_name("DIR"), "the directory to make");
  add("as", po::value(&options.as)->value_name("hf|checkpoint|auto")->default_value(options.as),
      "what to make; auto: the other of what --from is");
  add("role", po::value(&options.role)->value_name("NAME")->default_value(options.role),
      "whose parameters are taken out of, or put into, a checkpoint");
  add("dtype", po::value(&options.dtype)->value_name("fp32|fp64|bf16"),
      "type of the stored weights; without it as they are");
  add("layout", po::value(&options.layout)->value_name("L"),
      "layout whose shards a checkpoint is written as, such as d1t2p1; without it one shard");
  add("max-shard-mb",
      po::value(&options.max_shard_mb)->value_name("MB")->default_value(options.max_shard_mb),
      "largest safetensors file, in millions of bytes; a larger tensor has one of its own");
  add("overwrite", po::bool_switch(&options.overwrite), "replace --to if it exists");
  add("check", po::bool_switch(&options.check), "refuse weights that are not finite");
  add("help,h", po::bool_switch(&options.help), "this text");
  return description;
}

po::options_description inspect_description(InspectOptions& options) {
  po::options_description description("options");
  auto add = description.add_options();
  add("path", po::value(&options.path)->value_name("PATH"), "what to look at");
  add("help,h", po::bool_switch(&options.help), "this text");
  return description;
}

po::options_description verify_description(VerifyOptions& options) {
  po::options_description description("options");
  auto add = description.add_options();
  add("path", po::value(&options.path)->value_name("PATH"), "what to check");
  add("check", po::bool_switch(&options.check), "also read all weights: they must be finite");
  add("help,h", po::bool_switch(&options.help), "this text");
  return description;
}

po::options_description doctor_description(DoctorOptions& options) {
  po::options_description description("options");
  auto add = description.add_options();
  add("directory", po::value(&options.directory)->value_name("DIR"),
      "where runs are written (experiment.output_dir): must be shared by all nodes");
  add("seconds", po::value(&options.seconds)->value_name("S")->default_value(options.seconds),
      "time for each measurement");
  add("write-mb", po::value(&options.write_mb)->value_name("MB")->default_value(options.write_mb),
      "written to the directory by each node to measure it");
  add("help,h", po::bool_switch(&options.help), "this text");
  return description;
}

}  // namespace

ScoreOptions parse_score_options(std::span<const std::string> arguments) {
  ScoreOptions options;
  parse_arguments(arguments, score_description(options), "orrery score", "");
  if (options.run.help) return options;
  Refusals refusals("orrery score");
  check_run(refusals, options.run);
  refusals.require(!options.run.out.empty(), "--out F.json is missing");
  refusals.require(!options.run.tokens.empty(), "--tokens F.json is missing");
  refusals.require(
      options.batch_tokens >= 1 && options.batch_tokens <= kMaxCount,
      base::concat("--batch-tokens must be 1 to ", kMaxCount, ", got ", options.batch_tokens));
  refusals.throw_if_any();
  return options;
}

GenerateOptions parse_generate_options(std::span<const std::string> arguments) {
  GenerateOptions options;
  std::string prompt, eos;
  const po::variables_map given =
      parse_arguments(arguments, generate_description(options, prompt, eos), "orrery generate", "");
  if (options.run.help) return options;
  const bool has_prompt = given.count("prompt") > 0;
  if (has_prompt) options.prompt = prompt;
  Refusals refusals("orrery generate");
  check_run(refusals, options.run);
  const int n_inputs =
      int{!options.run.tokens.empty()} + int{!options.prompts.empty()} + int{has_prompt};
  refusals.require(n_inputs == 1,
                   "give either --tokens F.json, --prompts F.jsonl or --prompt TEXT (--prompt - "
                   "continues each line that is typed)");
  refusals.require(has_prompt || n_inputs == 0 || !options.run.out.empty(),
                   "--out F.json is missing");
  refusals.require(!has_prompt || options.run.out.empty(),
                   "--out has no meaning with --prompt, whose answer goes to standard output; use "
                   "--prompts F.jsonl to have a file");
  refusals.require(
      options.add_bos == "auto" || options.add_bos == "true" || options.add_bos == "false",
      base::concat("--add-bos must be auto, true or false, got ", options.add_bos));
  refusals.require(!options.chat || options.run.tokens.empty(),
                   "--chat has no meaning with --tokens, which are no text");
  refusals.require(!options.chat || given["add-bos"].defaulted(),
                   "--add-bos has no meaning with --chat: the chat template says how it begins");
  if (has_prompt && given.count("max-new-tokens") == 0) options.max_new_tokens = kTokensOfAPrompt;
  refusals.require(has_prompt || n_inputs == 0 || given.count("max-new-tokens") > 0,
                   "--max-new-tokens N is missing");
  refusals.require(
      given.count("max-new-tokens") == 0 ||
          (options.max_new_tokens >= 1 && options.max_new_tokens <= kMaxCount),
      base::concat("--max-new-tokens must be 1 to ", kMaxCount, ", got ", options.max_new_tokens));
  refusals.require(
      options.min_new_tokens >= 0 &&
          (options.max_new_tokens == 0 || options.min_new_tokens <= options.max_new_tokens),
      base::concat("--min-new-tokens must be 0 to --max-new-tokens, got ", options.min_new_tokens));
  refusals.require(options.temperature >= 0 && options.temperature < 1e6,
                   base::concat("--temperature must be 0 or more, got ", options.temperature));
  refusals.require(options.top_p > 0 && options.top_p <= 1,
                   base::concat("--top-p must be above 0 and at most 1, got ", options.top_p));
  refusals.require(options.top_k >= -1,
                   base::concat("--top-k must be 1 or more, or 0 for all, got ", options.top_k));
  refusals.require(options.max_batch >= 1 && options.max_batch <= 65536,
                   base::concat("--max-batch must be 1 to 65536, got ", options.max_batch));
  refusals.throw_if_any();
  if (given.count("eos") > 0) options.eos = eos_ids(eos);
  return options;
}

ConvertOptions parse_convert_options(std::span<const std::string> arguments) {
  ConvertOptions options;
  const po::variables_map given =
      parse_arguments(arguments, convert_description(options), "orrery convert", "");
  if (options.help) return options;
  Refusals refusals("orrery convert");
  refusals.require(!options.from.empty(), "--from DIR is missing");
  refusals.require(!options.to.empty(), "--to DIR is missing");
  refusals.require(options.as == "auto" || options.as == "hf" || options.as == "checkpoint",
                   base::concat("--as must be hf, checkpoint or auto, got ", options.as));
  if (given.count("dtype") > 0) check_dtype(refusals, options.dtype);
  refusals.require(options.max_shard_mb >= 1 && options.max_shard_mb <= 1'000'000,
                   base::concat("--max-shard-mb must be 1 to 1000000, got ", options.max_shard_mb));
  refusals.throw_if_any();
  return options;
}

InspectOptions parse_inspect_options(std::span<const std::string> arguments) {
  InspectOptions options;
  parse_arguments(arguments, inspect_description(options), "orrery inspect", "path");
  if (options.path.empty() && !options.help) {
    throw ConfigError("orrery inspect: nothing to look at; write orrery inspect PATH");
  }
  return options;
}

VerifyOptions parse_verify_options(std::span<const std::string> arguments) {
  VerifyOptions options;
  parse_arguments(arguments, verify_description(options), "orrery verify", "path");
  if (options.path.empty() && !options.help) {
    throw ConfigError("orrery verify: nothing to check; write orrery verify PATH");
  }
  return options;
}

DoctorOptions parse_doctor_options(std::span<const std::string> arguments) {
  DoctorOptions options;
  parse_arguments(arguments, doctor_description(options), "orrery doctor", "directory");
  if (options.help) return options;
  Refusals refusals("orrery doctor");
  refusals.require(options.seconds > 0 && options.seconds <= 60,
                   base::concat("--seconds must be above 0 and at most 60, got ", options.seconds));
  refusals.require(options.write_mb >= 0 && options.write_mb <= 100'000,
                   base::concat("--write-mb must be 0 to 100000, got ", options.write_mb));
  refusals.throw_if_any();
  return options;
}

std::string score_options_help() {
  ScoreOptions options;
  return text_of(score_description(options));
}

std::string generate_options_help() {
  GenerateOptions options;
  std::string prompt, eos;
  return text_of(generate_description(options, prompt, eos));
}

std::string convert_options_help() {
  ConvertOptions options;
  return text_of(convert_description(options));
}

std::string inspect_options_help() {
  InspectOptions options;
  return text_of(inspect_description(options));
}

std::string verify_options_help() {
  VerifyOptions options;
  return text_of(verify_description(options));
}

std::string doctor_options_help() {
  DoctorOptions options;
  return text_of(doctor_description(options));
}

}  // namespace orrery::config
