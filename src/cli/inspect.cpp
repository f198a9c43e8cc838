// `orrery inspect`: what a path holds, as tables. Reads headers, not weights.
#include "inspect.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>

#include "command_ranks.h"
#include "commands.h"
#include "instruction_sets.h"
#include "master_file.h"
#include "model_source.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/table.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/contents.h"
#include "orrery/checkpoint/directory.h"
#include "orrery/checkpoint/manifest.h"
#include "orrery/checkpoint/reader.h"
#include "orrery/config/model_commands.h"
#include "orrery/data/dtype.h"
#include "orrery/model/parameter_table.h"
#include "orrery/model/safetensors.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kHelp =
    R"(orrery inspect: what a path holds, as tables

  orrery inspect PATH

PATH: a Hugging Face directory, an Orrery checkpoint, a run directory, a safetensors file, an HDF5
file (token data set, file of a checkpoint). Weights are not read; orrery verify does that.

)";

std::string shape_text(const std::vector<int64_t>& shape) {
  return base::concat("[", base::join(shape, ", "), "]");
}

int64_t numel_of(const std::vector<int64_t>& shape) {
  int64_t numel = 1;
  for (const int64_t extent : shape) numel *= extent;
  return numel;
}

std::string architecture_text(const model::Architecture& a) {
  const model::ParameterTable table = model::parameter_table(a);
  std::string text =
      base::concat(model::name(a.family), a.value_head ? ", value head (one number a token)" : "",
                   ": ", base::counted(a.n_layers, "layer"), " of ", a.hidden_size, ", ",
                   base::counted(a.n_heads, "head"), " of ", a.head_dim, ", ",
                   base::counted(a.n_kv_heads, "key/value head"), ", MLP ", a.intermediate_size,
                   ", vocabulary ", a.vocab_size, ", context ", a.max_positions);
  if (a.sliding_window > 0) text += base::concat(", window ", a.sliding_window);
  if (a.tie_embeddings) text += ", tied embeddings";
  text += base::concat("; end tokens ",
                       a.eos_tokens.empty() ? std::string("none") : base::join(a.eos_tokens, " "));
  return base::concat(text, "; ", base::counted(table.numel, "parameter"), " in ",
                      table.parameters.size(), " tensors");
}

/// Rows `name dtype shape bytes file`, and their totals.
class TensorTable {
 public:
  void add(const std::string& name, const model::StoredTensor& tensor, const std::string& file) {
    rows_.push_back({name, tensor.dtype, shape_text(tensor.shape),
                     base::bytes_text(tensor.end - tensor.begin), file});
    n_elements_ += numel_of(tensor.shape);
    n_bytes_ += tensor.end - tensor.begin;
  }
  std::string text() const {
    return base::concat(base::table_text({"tensor", "type", "shape", "size", "file"}, rows_),
                        base::counted(rows_.size(), "tensor"), ", ",
                        base::counted(n_elements_, "element"), ", ", base::bytes_text(n_bytes_),
                        "\n");
  }

 private:
  std::vector<base::TableRow> rows_;
  int64_t n_elements_ = 0;
  int64_t n_bytes_ = 0;
};

std::string hugging_face_text(const fs::path& directory) {
  std::string text = base::concat("Hugging Face directory ", directory.string(), "\n");
  try {
    text +=
        architecture_text(model::Architecture::from_hf_config(directory / "config.json")) + "\n";
  } catch (const Error& error) {
    text += base::concat("cannot be used by this version: ", error.what(), "\n");
  }
  const model::SafetensorsDirectory stored(directory);
  TensorTable table;
  for (const auto& [name, file] : stored.tensors()) {
    table.add(name, file->tensors().at(name), file->path().filename().string());
  }
  return text + "\n" + table.text();
}

std::string safetensors_text(const fs::path& path) {
  const model::SafetensorsFile file(path);
  TensorTable table;
  for (const auto& [name, tensor] : file.tensors()) {
    table.add(name, tensor, path.filename().string());
  }
  return base::concat("safetensors file ", path.string(), "\n\n", table.text());
}

std::string hdf5_text(const fs::path& path) {
  const checkpoint::Hdf5Contents contents = checkpoint::list_hdf5(path);
  std::string text = base::concat("HDF5 file ", path.string(), "\n");
  for (const auto& [name, value] : contents.attributes)
    text += base::concat(name, " = ", value, "\n");
  std::vector<base::TableRow> rows;
  for (const checkpoint::Hdf5Dataset& dataset : contents.datasets) {
    rows.push_back({dataset.name, dataset.dtype, shape_text(dataset.shape),
                    base::bytes_text(dataset.stored_bytes)});
  }
  return base::concat(text, "\n", base::table_text({"data set", "type", "shape", "size"}, rows));
}

/// Of a run that samples dynamically: what it knows of its prompts, and what it has in hand.
std::string sampling_text(checkpoint::CheckpointReader& reader) {
  const std::optional<master::RefillState> state = read_refill(reader);
  if (!state) return {};
  return base::concat("dynamic sampling: ", base::counted(state->carried.size(), "group"),
                      " carried over, ", base::counted(state->upcoming.rows.size(), "prompt"),
                      " drawn for the next round\n", master::text_of(state->prompts), "\n");
}

std::string checkpoint_text(const fs::path& directory) {
  const checkpoint::Manifest manifest = checkpoint::read_manifest(directory);
  std::string text =
      base::concat("checkpoint ", directory.string(), "\nstep ", manifest.step,
                   ", written by orrery ", manifest.program, ", configuration ",
                   manifest.config_hash.empty() ? "none (converted)" : manifest.config_hash, "\n");
  if (!manifest.instruction_sets.empty()) {
    text += base::concat("computed with ", instruction_sets_text(manifest.instruction_sets), "\n");
  }
  text += "\n";
  std::vector<base::TableRow> rows;
  uint64_t total = 0;
  for (const checkpoint::FileRecord& file : manifest.files) {
    char hash[17];
    std::snprintf(hash, sizeof(hash), "%016llx", static_cast<unsigned long long>(file.hash));
    rows.push_back({file.name, base::bytes_text(static_cast<int64_t>(file.size)), hash});
    total += file.size;
  }
  text += base::concat(base::table_text({"file", "size", "xxh3"}, rows),
                       base::counted(rows.size(), "file"), ", ",
                       base::bytes_text(static_cast<int64_t>(total)), "\n\n");

  // What is stored of each role: parameters, moments, averages.
  struct Sum {
    int64_t matrices = 0, elements = 0, bytes = 0;
    std::string dtype;
  };
  std::map<std::string, Sum> sums;
  check_files(directory);
  checkpoint::CheckpointReader reader(directory);
  for (const std::string& name : reader.names()) {
    const checkpoint::Slab& slab = reader.description(name);
    const size_t role_end = name.find('/');
    const size_t kind_end = role_end == std::string::npos ? role_end : name.find('/', role_end + 1);
    Sum& sum = sums[name.substr(0, kind_end)];
    sum.matrices += 1;
    sum.elements += slab.rows * slab.columns;
    sum.bytes += slab.rows * slab.columns * data::size_bytes(slab.dtype);
    sum.dtype = std::string(data::name(slab.dtype));
  }
  rows.clear();
  for (const auto& [name, sum] : sums) {
    const std::string role = name.substr(0, name.find('/'));
    const auto layout = manifest.layouts.find(role);
    rows.push_back({name, layout == manifest.layouts.end() ? "" : layout->second,
                    std::to_string(sum.matrices), sum.dtype, std::to_string(sum.elements),
                    base::bytes_text(sum.bytes)});
  }
  return text + sampling_text(reader) +
         base::table_text({"content", "layout", "matrices", "type", "elements", "size"}, rows);
}

/// The last line of a file that has one object a line; nothing where it has none or is not there.
std::string last_line(const fs::path& file) {
  if (!base::exists(file)) return {};
  const std::string content = base::read_file(file);
  const size_t last = content.find_last_not_of('\n');
  if (last == std::string::npos) return {};
  const size_t before = content.rfind('\n', last);
  const size_t begin = before == std::string::npos ? 0 : before + 1;
  return content.substr(begin, last + 1 - begin);
}

std::string run_text(const fs::path& directory) {
  std::string text = base::concat("run directory ", directory.string(), "\n");
  std::vector<base::TableRow> rows;
  for (const fs::path& path : checkpoint::list_checkpoints(directory / "checkpoints")) {
    std::string state;
    try {
      const checkpoint::Manifest manifest = checkpoint::read_manifest(path);
      uint64_t total = 0;
      for (const checkpoint::FileRecord& file : manifest.files) total += file.size;
      state =
          base::concat("step ", manifest.step, ", ", base::counted(manifest.files.size(), "file"),
                       ", ", base::bytes_text(static_cast<int64_t>(total)));
    } catch (const Error& error) {
      state = base::concat("DAMAGED: ", error.what());
    }
    rows.push_back({base::concat("checkpoints/", path.filename().string()), state});
  }
  std::vector<fs::path> models;
  for (const fs::path& step : base::list_folder(directory / "models")) {
    if (!base::is_folder(step)) continue;
    for (const fs::path& role : base::list_folder(step)) {
      if (base::is_folder(role)) models.push_back(role);
    }
  }
  std::sort(models.begin(), models.end());
  for (const fs::path& model : models) {
    rows.push_back({model.lexically_relative(directory).string(), "Hugging Face directory"});
  }
  text += base::table_text({"what", "content"}, rows);
  const std::string metrics = last_line(directory / "metrics.jsonl");
  if (!metrics.empty()) text += base::concat("\nlast of metrics.jsonl: ", metrics, "\n");
  return text;
}

}  // namespace

PathKind kind_of_path(const fs::path& path) {
  if (!base::exists(path)) {
    throw ConfigError(base::concat(path.string(), " does not exist"),
                      {.expected = "a model, checkpoint, run directory, safetensors or HDF5 file",
                       .got = "no such file or directory",
                       .advice = "check the path"});
  }
  if (base::is_folder(path)) {
    switch (kind_of(path)) {
      case DirectoryKind::kHuggingFace:
        return PathKind::kHuggingFace;
      case DirectoryKind::kCheckpoint:
        return PathKind::kCheckpoint;
      case DirectoryKind::kRun:
        return PathKind::kRun;
      case DirectoryKind::kOther:
        break;
    }
    throw ConfigError(base::concat(path.string(), ": nothing that is known is in this directory"),
                      {.expected = "config.json, manifest.json or config.cfg",
                       .got = "none of them",
                       .advice = "name the directory of the model, checkpoint or run itself"});
  }
  if (checkpoint::is_hdf5(path)) return PathKind::kHdf5;
  if (path.extension() == ".safetensors") return PathKind::kSafetensors;
  throw ConfigError(base::concat(path.string(), ": a file of no known kind"),
                    {.expected = "a .safetensors or HDF5 file",
                     .got = "another one",
                     .advice = "name the directory of a model, or one of these files"});
}

std::string contents_text(const fs::path& path) {
  switch (kind_of_path(path)) {
    case PathKind::kHuggingFace:
      return hugging_face_text(path);
    case PathKind::kCheckpoint:
      return checkpoint_text(path);
    case PathKind::kRun:
      return run_text(path);
    case PathKind::kSafetensors:
      return safetensors_text(path);
    case PathKind::kHdf5:
      break;
  }
  return hdf5_text(path);
}

int run_inspect(std::span<const std::string> arguments) {
  if (asks_for_help(arguments)) {
    std::cout << kHelp << config::inspect_options_help();
    return 0;
  }
  return run_on_master([&] {
    std::cout << contents_text(config::parse_inspect_options(arguments).path) << std::flush;
    return 0;
  });
}

}  // namespace orrery::cli
