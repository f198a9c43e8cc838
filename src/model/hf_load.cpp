#include <set>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/model/hf_directory.h"
#include "orrery/model/safetensors.h"

namespace orrery::model {
namespace {

constexpr std::string_view kValueHead = "score.weight";

/// Tensors that checkpoints carry and nobody needs: tables that are made from the configuration,
/// and a copy of the embedding where the head is tied to it.
bool is_redundant(const std::string& name, const Architecture& architecture) {
  return name.ends_with("rotary_emb.inv_freq") ||
         ((architecture.tie_embeddings || architecture.value_head) && name == "lm_head.weight");
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
      {.expected = base::concat(wanted.n_layers, " layers of ", wanted.hidden_size, ", vocabulary ",
                                wanted.vocab_size),
       .got = base::concat(stored.n_layers, " layers of ", stored.hidden_size, ", vocabulary ",
                           stored.vocab_size, ", or other heads, positions or constants"),
       .advice = "load it into a decoder made from its own config.json"});
}

}  // namespace

void load_hf_parameters(const std::filesystem::path& directory, Decoder& decoder) {
  const Architecture& a = decoder.architecture();
  const Architecture stored_architecture = Architecture::from_hf_config(directory / "config.json");
  check_same_sizes(stored_architecture, a, directory);
  const SafetensorsDirectory stored(directory);
  const ParameterTable table = parameter_table(a);  // of the whole model: any shard checks all
  std::string missing, surplus;
  for (const ParameterSpec& spec : table.parameters) {
    if (spec.name == kValueHead && !stored_architecture.value_head) continue;
    if (!stored.tensors().contains(spec.name)) missing += " " + spec.name;
  }
  for (const auto& [name, file] : stored.tensors()) {
    if (table.find(name) == nullptr && !is_redundant(name, a)) surplus += " " + name;
  }
  if (!missing.empty() || !surplus.empty()) {
    throw CheckpointError(
        base::concat(directory.string(), ": tensors do not match config.json"),
        {.expected = base::concat(table.parameters.size(), " tensors of ", name(a.family)),
         .got = base::concat(missing.empty() ? "" : "without" + missing,
                             missing.empty() || surplus.empty() ? "" : "; ",
                             surplus.empty() ? "" : "also" + surplus),
         .advice = "use the config.json that belongs to these weights"});
  }
  for (const ParameterSpec& spec : decoder.parameters().table().parameters) {
    if (!stored.tensors().contains(spec.name)) continue;  // a new value head
    const SafetensorsFile& file = *stored.tensors().at(spec.name);
    const at::Tensor leaf = decoder.parameters().leaf(spec.name).detach();
    if (spec.shape == spec.full_shape) {
      file.read_into(spec.name, leaf);
    } else {
      file.read_part_into(spec.name, spec.full_shape, spec.first, leaf);
    }
  }
}

Decoder load_hf(const std::filesystem::path& directory, at::ScalarType dtype) {
  Decoder decoder(Architecture::from_hf_config(directory / "config.json"), dtype);
  load_hf_parameters(directory, decoder);
  return decoder;
}

}  // namespace orrery::model
