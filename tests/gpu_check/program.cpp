#include "program.h"

#include <algorithm>
#include <charconv>
#include <iostream>
#include <string>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::gpu_check {

namespace {

constexpr std::string_view kMachine = "machine";

struct Options {
  std::string out;
  double seconds = 300;
  std::optional<Sizes> sizes = {};
  int64_t taken_before = 0;
  std::string fixtures = {};
  std::vector<std::string> only = {};

  bool has(std::string_view part) const {
    return only.empty() || std::find(only.begin(), only.end(), part) != only.end();
  }
};

[[noreturn]] void refuse(const std::string& where, const char* expected, std::string_view got) {
  throw ConfigError(where, {.expected = expected,
                            .got = std::string(got),
                            .advice = "tools/gpu_check.sh starts this program"});
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

std::vector<std::string> parts_of(std::string_view text, std::span<const Part> parts) {
  std::vector<std::string> names;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    names.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const std::string& name : names) {
    const bool is_known =
        name == kMachine || std::any_of(parts.begin(), parts.end(),
                                        [&](const Part& part) { return part.name == name; });
    if (!is_known) refuse("option --only", "names of parts", name);
  }
  return names;
}

Options options_of(std::span<char*> arguments, std::span<const Part> parts) {
  Options options;
  for (size_t i = 0; i < arguments.size(); i += 2) {
    const std::string_view name = arguments[i];
    const bool is_known = name == "--out" || name == "--seconds" || name == "--sizes" ||
                          name == "--taken-before" || name == "--fixtures" || name == "--only";
    if (!is_known) {
      refuse("arguments", "--out, --seconds, --sizes, --taken-before, --fixtures or --only", name);
    }
    if (i + 1 == arguments.size()) {
      refuse(base::concat("option ", name), "a value", "none");
    }
    const std::string_view value = arguments[i + 1];
    if (name == "--out") options.out = value;
    if (name == "--seconds") options.seconds = number_of<double>(name, value);
    if (name == "--taken-before") options.taken_before = number_of<int64_t>(name, value);
    if (name == "--fixtures") options.fixtures = value;
    if (name == "--only") options.only = parts_of(value, parts);
    if (name == "--sizes") {
      if (value != "full" && value != "small") {
        refuse("option --sizes", "full or small", value);
      }
      options.sizes = value == "full" ? Sizes::kFull : Sizes::kSmall;
    }
  }
  if (options.out.empty()) refuse("arguments", "--out FILE", "no --out");
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

int run(const Options& options, std::span<const Part> parts) {
  if (const std::string why = kernels::why_no_gpu(); !why.empty()) {
    throw ConfigError("GPU", {.expected = "a GPU and its driver",
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
              .figures = figures,
              .bytes_taken_before = options.taken_before,
              .fixtures = options.fixtures};
  for (const Part& part : parts) {
    if (options.has(part.name)) part.run(check);
  }
  return figures.n_failed() > 0 ? 1 : 0;
}

}  // namespace

int run_program(std::string_view name, std::span<const Part> parts, int argc, char** argv) {
  try {
    const std::span arguments(argv + 1, static_cast<size_t>(std::max(argc - 1, 0)));
    return run(options_of(arguments, parts), parts);
  } catch (const std::exception& error) {
    std::cerr << name << ": " << error.what() << '\n';
    return static_cast<int>(exit_code_of(error));
  }
}

}  // namespace orrery::gpu_check
