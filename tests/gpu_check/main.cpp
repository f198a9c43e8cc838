// Compares the CUDA kernels with the CPU's and times them, on the first GPU: the benchmarks of
// tools/gpu_check.sh, which says what the figures are.
//
//   gpu_check --out FILE [--seconds N] [--sizes full|small] [--taken-before BYTES] [--only
//   PART,...]
//     --seconds       what would begin later is left out (300)
//     --sizes         full, or small on a simulated GPU
//     --taken-before  bytes of the GPU that were taken before this program began (0)
//     --only          of: machine (its description alone) bandwidth launches decode_attention
//     sampling log_probs strided_copies gae layers
//                     allowances
//
// exit code: 0 all passed, 1 a figure failed, 2 bad usage or no GPU, 5 FILE cannot be written
#include <algorithm>
#include <charconv>
#include <iostream>
#include <span>
#include <string_view>

#include "check.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::gpu_check {
namespace {

struct Part {
  std::string_view name;
  void (*run)(Check&);
};
constexpr std::string_view kMachine = "machine", kAllowances = "allowances";
constexpr Part kParts[] = {
    {"bandwidth", check_bandwidth},
    {"launches", check_launches},
    {"decode_attention", check_decode_attention},
    {"sampling", check_sampling},
    {"log_probs", check_log_probs},
    {"strided_copies", check_strided_copies},
    {"gae", check_gae},
    {"layers", check_layers},
};

struct Options {
  std::string out;
  double seconds = 300;
  std::optional<Sizes> sizes = {};
  int64_t taken_before = 0;
  std::vector<std::string> only = {};

  bool has(std::string_view part) const {
    return only.empty() || std::find(only.begin(), only.end(), part) != only.end();
  }
};

[[noreturn]] void refuse(const std::string& where, const char* expected, std::string_view got) {
  throw ConfigError(where, {.expected = expected,
                            .got = std::string(got),
                            .advice = "gpu_check is started by tools/gpu_check.sh"});
}

template <class T>
T number_of(std::string_view option, std::string_view text) {
  T number = {};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) {
    refuse(base::concat("option ", option), "a number of at least 0", text);
  }
  return number;
}

std::vector<std::string> parts_of(std::string_view text) {
  std::vector<std::string> names;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    names.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const std::string& name : names) {
    const bool is_known = name == kMachine || name == kAllowances ||
                          std::any_of(std::begin(kParts), std::end(kParts),
                                      [&](const Part& part) { return part.name == name; });
    if (!is_known) refuse("option --only", "names of parts", name);
  }
  return names;
}

Options options_of(std::span<char*> arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); i += 2) {
    const std::string_view name = arguments[i];
    const bool is_known = name == "--out" || name == "--seconds" || name == "--sizes" ||
                          name == "--taken-before" || name == "--only";
    if (!is_known) {
      refuse("gpu_check", "--out, --seconds, --sizes, --taken-before or --only", name);
    }
    if (i + 1 == arguments.size()) {
      refuse(base::concat("option ", name), "a value", "none");
    }
    const std::string_view value = arguments[i + 1];
    if (name == "--out") options.out = value;
    if (name == "--seconds") options.seconds = number_of<double>(name, value);
    if (name == "--taken-before") options.taken_before = number_of<int64_t>(name, value);
    if (name == "--only") options.only = parts_of(value);
    if (name == "--sizes") {
      if (value != "full" && value != "small") {
        refuse("option --sizes", "full or small", value);
      }
      options.sizes = value == "full" ? Sizes::kFull : Sizes::kSmall;
    }
  }
  if (options.out.empty()) refuse("gpu_check", "--out FILE", "no --out");
  return options;
}

nlohmann::ordered_json json_of(const DeviceFacts& facts) {
  return {{"gpu", facts.name},
          {"simulated", facts.is_simulated},
          {"n_gpus", facts.n_gpus},
          {"compute_capability", base::concat(facts.compute_major, ".", facts.compute_minor)},
          {"multiprocessors", facts.n_multiprocessors},
          {"memory_bytes", facts.memory_bytes},
          {"l2_bytes", facts.l2_bytes},
          {"clock_mhz", facts.clock_khz / 1000},
          {"memory_clock_mhz", facts.memory_clock_khz / 1000},
          {"memory_bus_bits", facts.memory_bus_bits},
          {"cuda_of_driver", facts.driver_version},
          {"cuda_of_runtime", facts.runtime_version}};
}

int run(const Options& options) {
  if (const std::string why = kernels::why_no_gpu(); !why.empty()) {
    throw ConfigError("gpu_check", {.expected = "a GPU and its driver",
                                    .got = why,
                                    .advice = "nvidia-smi says what this machine has"});
  }
  kernels::use_gpu(0);
  const DeviceFacts facts = device_facts(0);
  const Sizes sizes = options.sizes.value_or(facts.is_simulated ? Sizes::kSmall : Sizes::kFull);
  nlohmann::ordered_json machine = json_of(facts);
  machine["sizes"] = sizes == Sizes::kSmall ? "small" : "full";
  Figures figures(options.out, machine, options.seconds);
  Check check{.device = facts,
              .sizes = sizes,
              .timer = Timer(sizes == Sizes::kSmall ? 1e-3 : 0.2),
              .figures = figures};
  for (const Part& part : kParts) {
    if (options.has(part.name)) part.run(check);
  }
  if (options.has(kAllowances)) check_allowances(check, options.taken_before);
  return figures.n_failed() > 0 ? 1 : 0;
}

}  // namespace
}  // namespace orrery::gpu_check

int main(int argc, char** argv) {
  try {
    return orrery::gpu_check::run(orrery::gpu_check::options_of(
        std::span(argv + 1, static_cast<size_t>(std::max(argc - 1, 0)))));
  } catch (const std::exception& error) {
    std::cerr << "gpu_check: " << error.what() << '\n';
    return static_cast<int>(orrery::exit_code_of(error));
  }
}
