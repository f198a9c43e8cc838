#include "model_source.h"

#include "orrery/algorithm/registry.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/directory.h"
#include "orrery/checkpoint/reader.h"
#include "orrery/config/load.h"
#include "orrery/config/path_advice.h"
#include "orrery/model/checkpoint_model.h"
#include "orrery/model/foreign_model.h"
#include "orrery/model/hf_check.h"
#include "orrery/model/hf_directory.h"
#include "orrery/model/parameter_table.h"
#include "orrery/model/safetensors.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

/// A model that users name is their input: what is wrong with it is bad usage, not a lost file of
/// ours.
template <class Work>
auto as_bad_input(const Work& work) {
  try {
    return work();
  } catch (const CheckpointError& error) {
    throw ConfigError(error.what());
  } catch (const OutputError& error) {
    throw ConfigError(error.what());
  }
}

[[noreturn]] void refuse(const fs::path& directory, const std::string& got) {
  throw ConfigError(base::concat(directory.string(), ": no model that can be loaded"),
                    {.expected = "a Hugging Face directory (config.json, model.safetensors) or an "
                                 "Orrery checkpoint (manifest.json)",
                     .got = got,
                     .advice = "orrery inspect PATH shows what a path holds"});
}

/// The architecture of a role of a checkpoint: of the config.json that a converted one carries, or
/// of the configuration of the run that wrote it.
model::Architecture architecture_of(const fs::path& directory, const std::string& role) {
  if (base::exists(directory / "config.json")) {
    return model::Architecture::from_hf_config(directory / "config.json");
  }
  return model::Architecture::from_config(model_config_of(directory, role));
}

}  // namespace

config::ModelConfig model_config_of(const fs::path& directory, const std::string& role) {
  checkpoint::CheckpointReader reader(directory);
  const std::optional<std::string> text = reader.blob("master/config");
  if (!text) {
    throw CheckpointError(base::concat(directory.string(), " does not say how its models are made"),
                          {.expected = "config.json, or the configuration in master.h5",
                           .got = "neither",
                           .advice = "use a checkpoint of orrery train or orrery convert"});
  }
  config::LoadResult loaded = config::load_experiment_text(
      *text, (directory / "master.h5").string(), algorithm::interface_schemas());
  const config::ModelConfig* const model = loaded.experiment.find_model(role);
  if (model == nullptr) {
    throw CheckpointError(
        base::concat(directory.string(), ": its configuration has no model ", role));
  }
  return *model;
}

void check_files(const fs::path& directory) {
  for (const checkpoint::FileRecord& record : checkpoint::read_manifest(directory).files) {
    if (const auto problem = checkpoint::problem_of(directory, record)) {
      throw CheckpointError(base::concat(directory.string(), " is damaged: ", *problem),
                            {.expected = "the files that its manifest names",
                             .got = "others",
                             .advice = "use an earlier checkpoint; orrery verify PATH names all "
                                       "that is wrong"});
    }
  }
}

DirectoryKind kind_of(const fs::path& directory) {
  if (base::exists(directory / "manifest.json")) return DirectoryKind::kCheckpoint;
  if (base::exists(directory / "config.json")) return DirectoryKind::kHuggingFace;
  if (base::exists(directory / "config.cfg")) return DirectoryKind::kRun;
  return DirectoryKind::kOther;
}

ModelSource open_model(const fs::path& directory, const std::string& role, SourceCheck check) {
  if (!base::exists(directory)) {
    refuse(directory, base::concat("no such directory", config::path_advice(directory.string())));
  }
  model::refuse_foreign_model(directory);
  if (!base::is_folder(directory)) refuse(directory, "a file");
  ModelSource source{
      .directory = directory, .kind = kind_of(directory), .role = role, .architecture = {}};
  switch (source.kind) {
    case DirectoryKind::kHuggingFace:
      as_bad_input([&] {
        source.architecture = model::Architecture::from_hf_config(directory / "config.json");
        model::check_hf_tensors(directory, source.architecture);
        for (const auto& remark : model::unused_in_hf_directory(directory, source.architecture)) {
          base::log_warning(base::concat(directory.string(), ": ", remark));
        }
      });
      return source;
    case DirectoryKind::kCheckpoint:
      // Damage of a checkpoint is damage (exit code 5); a role that it does not have is bad usage.
      if (check == SourceCheck::kHashes) check_files(directory);
      as_bad_input([&] {
        source.role = model::role_in_checkpoint(directory, role);
        source.architecture = architecture_of(directory, source.role);
      });
      return source;
    case DirectoryKind::kRun:
      refuse(directory, "a run directory; its models are in models/, as models/latest/actor");
    case DirectoryKind::kOther:
      break;
  }
  refuse(directory, "a directory without config.json");
}

void load_parameters(const ModelSource& source, model::Decoder& decoder,
                     const model::LoadOptions& options) {
  if (source.kind == DirectoryKind::kCheckpoint) {
    model::load_checkpoint_parameters(source.directory, source.role, decoder, options);
    return;
  }
  as_bad_input([&] { model::load_hf_parameters(source.directory, decoder, options); });
}

void check_finite(const model::Decoder& decoder, const ModelSource& source) {
  const model::FlatParameters& parameters = decoder.parameters();
  for (size_t i = 0; i < parameters.table().parameters.size(); ++i) {
    const at::Tensor bad = parameters.leaf(i).detach().cpu().isfinite().logical_not();
    const int64_t n_bad = bad.sum().item<int64_t>();
    if (n_bad == 0) continue;
    throw ConfigError(
        base::concat(source.directory.string(), ": ", parameters.table().parameters[i].name,
                     " has weights that are not finite"),
        {.expected = "finite numbers (--check)",
         .got = base::concat(n_bad, " of ", bad.numel(), " are NaN or infinite"),
         .advice = "use another checkpoint of this model"});
  }
}

at::ScalarType parameter_type(const std::string& dtype) {
  if (dtype == "bf16") return at::kBFloat16;
  return dtype == "fp64" ? at::kDouble : at::kFloat;
}

graph::Layout layout_for(const std::string& text, int n_workers,
                         const model::Architecture& architecture) {
  if (text.empty()) return graph::default_layout(n_workers);
  graph::ParsedLayout parsed = graph::parse_layout(text);
  std::vector<std::string>& problems = parsed.problems;
  if (problems.empty()) {
    for (std::string& problem : graph::placement_problems(parsed.layout, n_workers)) {
      problems.push_back(std::move(problem));
    }
    for (std::string& problem : model::check_layout(architecture, parsed.layout)) {
      problems.push_back(std::move(problem));
    }
  }
  if (problems.empty()) return parsed.layout;
  throw ConfigError(
      base::concat("--layout ", text, ": ", base::join(problems, "; ")),
      {.expected = base::concat("a layout of this model on ", n_workers,
                                n_workers == 1 ? " worker" : " workers"),
       .got = text,
       .advice = base::concat("start it as mpirun -n ", parsed.layout.size() + 1,
                              " (a master and a worker for each shard), or use another layout")});
}

void require_vocabulary(const ModelSource& source, const data::Tokenizer& tokenizer) {
  if (tokenizer.vocab_size() <= source.architecture.vocab_size) return;
  throw ConfigError(base::concat("--model: ", (source.directory / "tokenizer.json").string()),
                    {.expected = base::concat("at most ", source.architecture.vocab_size,
                                              " tokens, the vocabulary of the model"),
                     .got = base::concat(tokenizer.vocab_size()),
                     .advice = "use the tokenizer that belongs to the model"});
}

std::unique_ptr<data::Tokenizer> tokenizer_for(const ModelSource& source) {
  if (base::exists(source.directory / "tokenizer.json")) {
    std::unique_ptr<data::Tokenizer> tokenizer = data::make_tokenizer(source.directory.string());
    require_vocabulary(source, *tokenizer);
    return tokenizer;
  }
  if (source.architecture.vocab_size == data::ByteTokenizer::kVocabSize) {
    return data::make_tokenizer("byte");
  }
  throw ConfigError(
      base::concat("--model: ", source.directory.string(), " has no tokenizer that can be read"),
      {.expected = base::concat("tokenizer.json, or a vocabulary of bytes (",
                                data::ByteTokenizer::kVocabSize, ")"),
       .got = base::concat("a vocabulary of ", source.architecture.vocab_size),
       .advice = "turn the prompts into ids with the model's own tokenizer and use --tokens"});
}

}  // namespace orrery::cli
