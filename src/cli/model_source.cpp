#include "model_source.h"

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/model/hf_directory.h"
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

}  // namespace

DirectoryKind kind_of(const fs::path& directory) {
  std::error_code ignored;
  if (fs::is_regular_file(directory / "manifest.json", ignored)) return DirectoryKind::kCheckpoint;
  if (fs::is_regular_file(directory / "config.json", ignored)) return DirectoryKind::kHuggingFace;
  if (fs::is_regular_file(directory / "config.cfg", ignored)) return DirectoryKind::kRun;
  return DirectoryKind::kOther;
}

ModelSource open_model(const fs::path& directory, const std::string& role) {
  std::error_code ignored;
  if (!fs::exists(directory, ignored)) refuse(directory, "no such directory");
  if (!fs::is_directory(directory, ignored)) refuse(directory, "a file");
  ModelSource source{
      .directory = directory, .kind = kind_of(directory), .role = role, .architecture = {}};
  switch (source.kind) {
    case DirectoryKind::kHuggingFace:
      as_bad_input([&] {
        source.architecture = model::Architecture::from_hf_config(directory / "config.json");
        model::SafetensorsDirectory{directory};  // reads and checks all headers
      });
      return source;
    case DirectoryKind::kCheckpoint:
      refuse(directory, "a checkpoint, which this version cannot read");
    case DirectoryKind::kRun:
      refuse(directory, "a run directory; its models are in models/, as models/latest/actor");
    case DirectoryKind::kOther:
      break;
  }
  refuse(directory, "a directory without config.json");
}

void load_parameters(const ModelSource& source, model::Decoder& decoder) {
  as_bad_input([&] { model::load_hf_parameters(source.directory, decoder); });
}

void check_finite(const model::Decoder& decoder, const ModelSource& source) {
  const model::FlatParameters& parameters = decoder.parameters();
  for (size_t i = 0; i < parameters.table().parameters.size(); ++i) {
    const at::Tensor bad = parameters.leaf(i).detach().isfinite().logical_not();
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

at::ScalarType compute_type(const std::string& dtype) {
  if (dtype == "fp64") return at::kDouble;
  if (dtype == "fp32") return at::kFloat;
  throw ConfigError(
      base::concat("--dtype ", dtype),
      {.expected = "fp32 or fp64",
       .got = dtype,
       .advice = "this version computes in fp32 and fp64 only; a model that is stored "
                 "in bf16 is read all the same"});
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

std::unique_ptr<data::Tokenizer> tokenizer_for(const ModelSource& source) {
  if (source.architecture.vocab_size == data::ByteTokenizer::kVocabSize) {
    return data::make_tokenizer("byte");
  }
  throw ConfigError(
      base::concat("--prompts: ", source.directory.string(), " has no tokenizer that can be read"),
      {.expected = base::concat("a vocabulary of bytes (", data::ByteTokenizer::kVocabSize, ")"),
       .got = base::concat("a vocabulary of ", source.architecture.vocab_size),
       .advice = "turn the prompts into ids with the model's own tokenizer and use --tokens"});
}

}  // namespace orrery::cli
