#include <ATen/ops/empty.h>

#include <algorithm>  // any_of
#include <set>

#include "families/family.h"
#include "finite_weights.h"
#include "hf_names.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/model/hf_directory.h"
#include "orrery/model/safetensors.h"

namespace orrery::model {
namespace {

constexpr std::string_view kHead = "lm_head.weight";
constexpr std::string_view kValueHead = "score.weight";

/// Tensors that checkpoints carry and nobody needs: tables that are made from the configuration,
/// masks, and a copy of the embedding where the head is tied to it.
bool is_redundant(const std::string& name, const Architecture& architecture) {
  const FamilyTraits& family = traits(architecture.family);
  return name.ends_with("rotary_emb.inv_freq") ||
         (family.is_redundant != nullptr && family.is_redundant(name)) ||
         ((architecture.tie_embeddings || architecture.value_head) &&
          (name == kHead || (family.wrapper_head != nullptr && name == family.wrapper_head)));
}

void check_same_sizes(const Architecture& stored, const Architecture& wanted,
                      const std::filesystem::path& directory) {
  Architecture comparable = stored;
  comparable.family = wanted.family;
  if (wanted.value_head) {  // the trunk of a language model will do
    comparable.value_head = true;
    comparable.tie_embeddings = wanted.tie_embeddings;
  }
  comparable.bos_token = wanted.bos_token;
  comparable.eos_tokens = wanted.eos_tokens;
  if (comparable == wanted) return;
  throw CheckpointError(
      base::concat(directory.string(), " holds another architecture"),
      {.expected = base::concat(base::counted(wanted.n_layers, "layer"), " of ", wanted.hidden_size,
                                ", vocabulary ", wanted.vocab_size),
       .got = base::concat(base::counted(stored.n_layers, "layer"), " of ", stored.hidden_size,
                           ", vocabulary ", stored.vocab_size,
                           ", or other heads, positions or constants"),
       .advice = "load it into a decoder made from its own config.json"});
}

/// The files of a directory and the names that its tensors have in them.
struct StoredModel {
  Architecture architecture;
  SafetensorsDirectory files;
  std::string prefix;                 // of names as the family has them
  std::string stored_prefix;          // of these files: none where they hold the trunk alone
  const char* stored_head = nullptr;  // the name of lm_head.weight, where it is another one

  StoredModel(const std::filesystem::path& directory, const Architecture& wanted)
      : architecture(Architecture::from_hf_config(directory / "config.json")),
        files(directory),
        prefix(trunk_prefix(wanted)) {
    if (any_starts_with(prefix)) stored_prefix = prefix;
    const FamilyTraits& family = traits(wanted.family);
    for (const char* nested : family.wrapper_prefixes) {
      if (any_starts_with(nested)) stored_prefix = nested;
    }
    if (family.wrapper_head != nullptr && files.tensors().contains(family.wrapper_head)) {
      stored_head = family.wrapper_head;
    }
  }
  bool any_starts_with(const std::string& start) const {
    return std::any_of(files.tensors().begin(), files.tensors().end(),
                       [&](const auto& entry) { return entry.first.starts_with(start); });
  }
  std::string name_of(const StoredPlace& place) const {
    if (place.name == kHead && stored_head != nullptr) return stored_head;
    if (!place.name.starts_with(prefix)) return place.name;
    return stored_prefix + place.name.substr(prefix.size());
  }
};

/// Names and shapes of all tensors, also where only a shard is read.
void check_tensors(const std::filesystem::path& directory, const StoredModel& stored,
                   const Architecture& a) {
  std::set<std::string> known;
  std::string missing, surplus;
  for (const ParameterSpec& spec : parameter_table(a).parameters) {
    if (spec.name == kValueHead && !stored.architecture.value_head) continue;
    const StoredPlace place = stored_place(a, spec);
    const std::string wanted = stored.name_of(place);
    if (!known.insert(wanted).second) continue;
    const auto found = stored.files.tensors().find(wanted);
    if (found == stored.files.tensors().end()) {
      missing += " " + wanted;
    } else if (const auto& shape = found->second->tensors().at(wanted).shape;
               shape != place.shape) {
      throw ConfigError(
          base::concat(found->second->path().string(), ": tensor ", wanted, ": shape"),
          {.expected = base::concat("[", base::join(place.shape, ", "), "]"),
           .got = base::concat("[", base::join(shape, ", "), "]"),
           .advice = "use the config.json that belongs to these weights, or correct its sizes "
                     "(vocab_size counts the rows of the embedding)"});
    }
  }
  for (const auto& [name, file] : stored.files.tensors()) {
    if (!known.contains(name) && !is_redundant(name, a)) surplus += " " + name;
  }
  if (missing.empty() && surplus.empty()) return;
  throw ConfigError(
      base::concat(directory.string(), ": tensors do not match config.json"),
      {.expected = base::concat(base::counted(known.size(), "tensor"), " of ", name(a.family)),
       .got = base::concat(missing.empty() ? "" : "without" + missing,
                           missing.empty() || surplus.empty() ? "" : "; ",
                           surplus.empty() ? "" : "also" + surplus),
       .advice = "use the config.json that belongs to these weights"});
}

class HfFiles : public ParameterFiles {
 public:
  HfFiles(const std::filesystem::path& directory, const Architecture& architecture)
      : directory_(directory), architecture_(architecture), stored_(directory, architecture) {
    check_same_sizes(stored_.architecture, architecture, directory);
    check_tensors(directory, stored_, architecture);
  }

  bool has(const ParameterSpec& spec) override {
    return stored_.files.tensors().contains(stored_.name_of(stored_place(architecture_, spec)));
  }

  int64_t read(const ParameterPiece& piece, const at::Tensor& values) override {
    const StoredPlace place = stored_place(architecture_, *piece.spec);
    const std::string name = stored_.name_of(place);
    const SafetensorsFile& file = *stored_.files.tensors().at(name);
    const int64_t row = place.first_row + piece.spec->first[0] + piece.first_row;
    const int64_t column = piece.spec->first[1];
    if (place.is_transposed) {
      const at::Tensor stored = at::empty({values.size(1), values.size(0)}, values.options());
      file.read_part_into(name, place.shape, {column, row}, stored);
      values.copy_(stored.t());
    } else {
      file.read_part_into(name, place.shape, {row, column}, values);
    }
    check_finite_weights(directory_, name, values);
    return piece.numel() * file.element_size(name);
  }

 private:
  std::filesystem::path directory_;
  Architecture architecture_;
  StoredModel stored_;
};

}  // namespace

void check_hf_tensors(const std::filesystem::path& directory, const Architecture& architecture) {
  check_tensors(directory, StoredModel(directory, architecture), architecture);
}

void load_hf_parameters(const std::filesystem::path& directory, Decoder& decoder,
                        const LoadOptions& options) {
  load_parameters(
      decoder.parameters(),
      [&] { return std::make_unique<HfFiles>(directory, decoder.architecture()); }, options);
}

Decoder load_hf(const std::filesystem::path& directory, at::ScalarType dtype) {
  Decoder decoder(Architecture::from_hf_config(directory / "config.json"), dtype);
  load_hf_parameters(directory, decoder);
  return decoder;
}

}  // namespace orrery::model
