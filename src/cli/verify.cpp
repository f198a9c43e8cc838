// `orrery verify`: re-reads everything and says whether it is what it claims to be.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "command_ranks.h"
#include "commands.h"
#include "inspect.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/contents.h"
#include "orrery/checkpoint/directory.h"
#include "orrery/checkpoint/reader.h"
#include "orrery/config/model_commands.h"
#include "orrery/data/bpe_tokenizer.h"  // check_tokenizer_files
#include "orrery/data/dtype.h"
#include "orrery/model/architecture.h"
#include "orrery/model/hf_directory.h"
#include "orrery/model/hf_rewrite.h"
#include "orrery/model/safetensors.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kHelp =
    R"(orrery verify: is everything what it claims to be?

  orrery verify PATH [--check]

checkpoint               manifest, size and hash of every file, every number against the hash that
                         was taken before it was written
Hugging Face directory   config.json, headers, offsets, every tensor there with its shape; files of
                         the tokenizer can be read
run directory            its checkpoints and exported models
safetensors, HDF5 file   headers
--check also reads all weights of safetensors files and looks for NaN and infinity.
Exit code 0: all is well; 5: something is not, each thing named.

)";

using Problems = std::vector<std::string>;

void append(Problems& problems, const Problems& more) {
  problems.insert(problems.end(), more.begin(), more.end());
}

/// What `work` throws is a problem like any other.
template <class Work>
void collect(Problems& problems, const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    problems.emplace_back(error.what());
  }
}

void check_weights(Problems& problems, const model::SafetensorsFile& file, WeightCheck check) {
  if (check == WeightCheck::kHeadersOnly) return;
  for (const auto& [name, tensor] : file.tensors()) {
    if (tensor.dtype.front() != 'F' && tensor.dtype != "BF16") continue;
    const int64_t n = model::count_not_finite(file, name);
    if (n == 0) continue;
    problems.push_back(base::concat(file.path().string(), ": ", name, " has ", n,
                                    " numbers that are NaN or infinite"));
  }
}

Problems problems_of_model(const fs::path& directory, WeightCheck check) {
  Problems problems;
  collect(problems, [&] {
    const model::Decoder decoder = model::load_hf(directory);  // names what does not match
  });
  collect(problems, [&] { data::check_tokenizer_files(directory); });
  collect(problems, [&] {
    const model::SafetensorsDirectory stored(directory);
    std::vector<const model::SafetensorsFile*> files;
    for (const auto& [name, file] : stored.tensors()) {
      if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(file);
    }
    for (const model::SafetensorsFile* file : files) check_weights(problems, *file, check);
  });
  std::sort(problems.begin(), problems.end());
  problems.erase(std::unique(problems.begin(), problems.end()), problems.end());
  return problems;
}

/// `latest` and `best` lead to what is looked at under its own name.
bool is_pointer(const fs::path& path) { return base::is_link(path) && !checkpoint::step_of(path); }

Problems problems_of_run(const fs::path& directory, WeightCheck check) {
  Problems problems;
  collect(problems, [&] {
    for (const fs::path& path : checkpoint::list_checkpoints(directory / "checkpoints")) {
      append(problems, problems_of(path, check));
    }
  });
  for (const fs::path& step : base::list_folder(directory / "models")) {
    if (is_pointer(step)) continue;
    collect(problems, [&] {
      if (!base::is_folder(step)) return;
      for (const fs::path& role : base::list_folder(step)) {
        if (base::is_folder(role)) append(problems, problems_of(role, check));
      }
    });
  }
  return problems;
}

Problems problems_of_kind(const fs::path& path, WeightCheck check) {
  Problems problems;
  switch (kind_of_path(path)) {
    case PathKind::kHuggingFace:
      return problems_of_model(path, check);
    case PathKind::kCheckpoint:
      return checkpoint::verify(path);
    case PathKind::kRun:
      return problems_of_run(path, check);
    case PathKind::kSafetensors:
      collect(problems, [&] { check_weights(problems, model::SafetensorsFile(path), check); });
      return problems;
    case PathKind::kHdf5:
      break;
  }
  collect(problems, [&] { checkpoint::list_hdf5(path); });
  return problems;
}

}  // namespace

std::vector<std::string> problems_of(const fs::path& path, WeightCheck check) {
  const Problems problems = problems_of_kind(path, check);
  std::cout << base::concat(problems.empty() ? "ok      " : "DAMAGED ", path.string(), "\n")
            << std::flush;
  return problems;
}

int run_verify(std::span<const std::string> arguments) {
  if (asks_for_help(arguments)) {
    std::cout << kHelp << config::verify_options_help();
    return 0;
  }
  return run_on_master([&] {
    const config::VerifyOptions options = config::parse_verify_options(arguments);
    const Problems problems = problems_of(
        options.path, options.check ? WeightCheck::kReadAll : WeightCheck::kHeadersOnly);
    for (const std::string& problem : problems) {
      std::cerr << base::concat("orrery: ", problem, "\n") << std::flush;
    }
    return problems.empty() ? 0 : static_cast<int>(ExitCode::kOutputFailed);
  });
}

}  // namespace orrery::cli
