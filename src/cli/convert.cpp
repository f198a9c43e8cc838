// `orrery convert`: a model from one form to another. One process: the work is reading and writing
// files.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "command_ranks.h"
#include "commands.h"
#include "model_source.h"
#include "orrery/base/clock.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "orrery/data/sequence_batch.h"  // dtype_of
#include "orrery/model/checkpoint_model.h"
#include "orrery/model/hf_directory.h"
#include "orrery/model/hf_rewrite.h"
#include "program_versions.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kHelp =
    R"(orrery convert: a model from one form to another

  orrery convert --from DIR --to DIR [--as hf|checkpoint] [--role NAME] [--dtype T] [--layout L]

Hugging Face directory -> Orrery checkpoint    model.ROLE.path of `train`, --model of score and
                                               generate take it; --layout: how it is cut into files
Orrery checkpoint -> Hugging Face directory    of one role, whatever layout the run had
Hugging Face -> Hugging Face (--as hf)         weights in another type or in files of another size
Tokenizer files come along. The result appears whole or not at all.

)";

at::ScalarType type_named(const std::string& dtype) {
  return dtype == "fp64" ? at::kDouble : dtype == "bf16" ? at::kBFloat16 : at::kFloat;
}

/// In which a decoder can hold weights that are stored as `type` without losing any of them.
at::ScalarType type_to_hold(at::ScalarType type) {
  return type == at::kDouble ? at::kDouble : at::kFloat;
}

void check_target(const config::ConvertOptions& options) {
  const fs::path to = options.to;
  fs::path writing = base::link_target(base::without_slash(to));
  writing += ".writing";  // of publish_directory()
  std::string got;
  if (base::exists(to) && fs::equivalent(to, options.from)) {
    got = "the same directory as --from";
  } else if (base::exists(to) && !base::is_folder(to)) {
    got = "a file of that name";
  } else if (!base::list_folder(to).empty() && !options.overwrite) {
    got = "a directory of that name that is not empty (--overwrite replaces it)";
  }
  if (got.empty() && base::exists(writing)) {
    got = base::concat(writing.string(), ", yours or of a job that was killed (remove it then)");
  }
  if (got.empty()) return;
  throw ConfigError(base::concat("orrery convert: --to ", options.to),
                    {.expected = "a new directory", .got = got, .advice = "choose another name"});
}

model::RewriteOptions rewrite_options(const config::ConvertOptions& options) {
  model::RewriteOptions rewrite{.dtype = {},
                                .max_file_bytes = options.max_shard_mb * 1'000'000,
                                .check_finite = options.check,
                                .progress = {}};
  if (!options.dtype.empty()) rewrite.dtype = type_named(options.dtype);
  const base::Stopwatch watch;
  rewrite.progress = [watch](int64_t done, int64_t all) {
    if (watch.seconds() < 2) return;
    std::cerr << base::concat("convert: ", base::bytes_text(done), " of ", base::bytes_text(all),
                              "\n")
              << std::flush;
  };
  return rewrite;
}

/// Whether any stored weight has more than fp32 holds.
at::ScalarType type_in_files(const fs::path& directory) {
  const model::SafetensorsDirectory stored(directory);
  return std::any_of(stored.tensors().begin(), stored.tensors().end(),
                     [](const auto& entry) {
                       return entry.second->tensors().at(entry.first).dtype == "F64";
                     })
             ? at::kDouble
             : at::kFloat;
}

void to_checkpoint(const config::ConvertOptions& options, const ModelSource& source) {
  const at::ScalarType type =
      options.dtype.empty() ? type_to_hold(source.kind == DirectoryKind::kCheckpoint
                                               ? model::stored_type(source.directory, source.role)
                                               : type_in_files(source.directory))
                            : type_named(options.dtype);
  graph::Layout layout{.workers = {0}};
  if (!options.layout.empty()) {
    layout = graph::Layout::parse(options.layout);
    layout = layout_for(options.layout,
                        1 + *std::max_element(layout.workers.begin(), layout.workers.end()),
                        source.architecture);
  }
  model::Decoder whole(source.architecture, type_to_hold(type));
  load_parameters(source, whole);
  if (options.check) check_finite(whole, source);
  model::publish_directory(options.to, [&](const fs::path& folder) {
    model::copy_companions(source.directory, folder);
    base::publish_file(folder / "config.json", base::read_file(source.directory / "config.json"));
    model::SavedModel saved{.role = options.role,
                            .dtype = data::dtype_of(type),
                            .layout = layout,
                            .program_version = program_version(),
                            .companions = {}};
    for (const fs::path& entry : base::list_folder(folder)) {
      saved.companions.push_back(entry.filename().string());
    }
    model::write_checkpoint_model(folder, whole, saved);
  });
}

/// Where the tokenizer of a checkpoint's model is: beside it, or where the run took it from.
fs::path home_of(const ModelSource& source) {
  if (base::exists(source.directory / "config.json")) return source.directory;
  return model_config_of(source.directory, source.role).path;
}

void to_hugging_face(const config::ConvertOptions& options, const ModelSource& source) {
  model::Decoder whole(source.architecture,
                       type_to_hold(model::stored_type(source.directory, source.role)));
  load_parameters(source, whole);
  if (options.check) check_finite(whole, source);
  // First as it is, in a folder of its own beside the target, then in the type and file size that
  // are wanted.
  const fs::path own = base::free_name(base::without_slash(options.to), ".plain");
  const fs::path plain = own / "model";
  const Verdict verdict = judge([&] {
    model::save_hf(plain, whole);
    const fs::path home = home_of(source);
    if (!home.empty() && base::is_folder(home)) {
      const std::string generation = base::read_file(plain / "generation_config.json");
      model::copy_companions(home, plain);
      base::publish_file(plain / "generation_config.json", generation);
    }
    model::rewrite_hf(plain, options.to, rewrite_options(options));
  });
  std::error_code ignored;
  fs::remove_all(own, ignored);
  if (verdict.exit_code != 0) throw CheckpointError(verdict.text);
}

int convert(const config::ConvertOptions& options) {
  const base::Stopwatch watch;
  const ModelSource source = open_model(options.from, options.role, SourceCheck::kHashes);
  check_target(options);
  const bool from_checkpoint = source.kind == DirectoryKind::kCheckpoint;
  const std::string as =
      options.as == "auto" ? (from_checkpoint ? "hf" : "checkpoint") : options.as;
  if (as == "checkpoint" && from_checkpoint) {
    throw ConfigError("orrery convert: --as checkpoint",
                      {.expected = "a Hugging Face directory as --from",
                       .got = base::concat(options.from, ", a checkpoint"),
                       .advice = "any layout reads it as it is: no conversion is needed"});
  }
  if (as == "checkpoint") {
    to_checkpoint(options, source);
  } else if (from_checkpoint) {
    to_hugging_face(options, source);
  } else {
    try {
      model::rewrite_hf(options.from, options.to, rewrite_options(options));
    } catch (const CheckpointError& error) {  // what is wrong with --from is bad input
      throw ConfigError(error.what());
    }
  }
  std::cerr << base::concat("convert: ", options.to, " written in ",
                            base::duration_text(std::chrono::duration<double>(watch.seconds())),
                            "\n")
            << std::flush;
  return 0;
}

}  // namespace

int run_convert(std::span<const std::string> arguments) {
  if (asks_for_help(arguments)) {
    std::cout << kHelp << config::convert_options_help();
    return 0;
  }
  return run_on_master([&] { return convert(config::parse_convert_options(arguments)); });
}

}  // namespace orrery::cli
