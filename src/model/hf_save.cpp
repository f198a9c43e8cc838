// Decoder -> a directory that transformers loads.
#include <ATen/ops/cat.h>

#include <algorithm>
#include <array>
#include <cstdio>  // snprintf
#include <map>
#include <nlohmann/json.hpp>
#include <utility>  // move, pair

#include "families/family.h"
#include "hf_names.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"  // publish_file
#include "orrery/base/json.h"
#include "orrery/base/text.h"
#include "orrery/model/hf_directory.h"
#include "orrery/model/hf_rewrite.h"  // plan_files, publish_directory
#include "orrery/model/safetensors.h"

namespace orrery::model {
namespace {

using nlohmann::ordered_json;

const char* dtype_name(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return "bfloat16";
  return dtype == at::kDouble ? "float64" : "float32";
}

/// One token as a number, several as a list, none as null.
ordered_json token_field(const std::vector<int64_t>& tokens) {
  if (tokens.empty()) return nullptr;
  if (tokens.size() == 1) return tokens.front();
  return tokens;
}

ordered_json config_of(const Decoder& decoder, const std::vector<int64_t>& end_tokens) {
  const Architecture& a = decoder.architecture();
  const FamilyTraits& family = traits(a.family);
  const char* class_name = a.value_head ? family.reward_class : family.language_class;
  ordered_json config = {{"architectures", ordered_json::array({class_name})},
                         {"model_type", family.model_type},
                         {"vocab_size", a.vocab_size}};
  config.update(family.write_sizes(a));
  config["tie_word_embeddings"] = a.tie_embeddings;
  config["bos_token_id"] = a.bos_token < 0 ? ordered_json() : ordered_json(a.bos_token);
  config["eos_token_id"] = token_field(end_tokens);
  config["torch_dtype"] = dtype_name(decoder.parameters().dtype());
  config["use_cache"] = true;
  if (a.value_head) {
    config["num_labels"] = 1;
    config["id2label"] = {{"0", "LABEL_0"}};
    config["label2id"] = {{"LABEL_0", 0}};
  }
  family.write_rest(a, config);
  return config;
}

/// Its own generation settings, where it has some, stay as they are but for end tokens that they do
/// not know.
void write_generation_config(const std::filesystem::path& file, const Architecture& a,
                             const std::vector<int64_t>& end_tokens) {
  ordered_json config = {
      {"_from_model_config", true},
      {"bos_token_id", a.bos_token < 0 ? ordered_json() : ordered_json(a.bos_token)}};
  if (base::exists(file)) {
    if (end_tokens == a.eos_tokens) return;
    auto [own, problem] = base::parse_json<ordered_json>(base::read_file(file));
    if (!own.is_object()) {
      throw OutputError(base::concat("writing ", file.string()),
                        {.expected = "generation settings that came with the model",
                         .got = problem.empty() ? "no JSON object" : problem,
                         .advice = "mend the file in the directory of the model"});
    }
    config = std::move(own);
  }
  config["eos_token_id"] = token_field(end_tokens);
  base::publish_file(file, config.dump(2) + "\n");
}

std::vector<int64_t> all_end_tokens(const Architecture& a, const std::vector<int64_t>& further) {
  std::vector<int64_t> tokens = a.eos_tokens;
  for (const int64_t token : further) {
    if (std::find(tokens.begin(), tokens.end(), token) == tokens.end()) tokens.push_back(token);
  }
  return tokens;
}

/// A tensor of the files and the parameters in it, in order.
struct StoredTensorPlan {
  StoredPlace place;
  std::vector<size_t> parameters = {};
  int64_t bytes = 0;
};

std::vector<StoredTensorPlan> stored_tensors(const Decoder& decoder) {
  std::vector<StoredTensorPlan> plans;
  std::map<std::string, size_t> by_name;
  const ParameterTable& table = decoder.parameters().table();
  for (size_t i = 0; i < table.parameters.size(); ++i) {
    StoredPlace place = stored_place(decoder.architecture(), table.parameters[i]);
    const auto [it, is_new] = by_name.emplace(place.name, plans.size());
    if (is_new) plans.push_back({.place = std::move(place)});
    StoredTensorPlan& plan = plans[it->second];
    plan.parameters.push_back(i);
    plan.bytes += table.parameters[i].numel *
                  static_cast<int64_t>(decoder.parameters().stored().element_size());
  }
  return plans;
}

at::Tensor values_of(const StoredTensorPlan& plan, const Decoder& decoder) {
  std::vector<at::Tensor> parts;
  for (const size_t i : plan.parameters) {
    parts.push_back(decoder.parameters().leaf(i).detach().cpu());
  }
  at::Tensor values = parts.size() == 1 ? parts.front() : at::cat(parts);
  values = values.to(decoder.parameters().dtype());
  return plan.place.is_transposed ? values.t().contiguous() : values;
}

std::string file_name(size_t file, size_t n_files) {
  if (n_files == 1) return "model.safetensors";
  std::array<char, 64> text = {};
  std::snprintf(text.data(), text.size(), "model-%05zu-of-%05zu.safetensors", file + 1, n_files);
  return text.data();
}

void write_weights(const std::filesystem::path& directory, const Decoder& decoder,
                   int64_t max_file_bytes) {
  std::map<std::string, StoredTensorPlan> plans;
  std::vector<std::pair<std::string, int64_t>> sizes;
  int64_t total = 0;
  for (StoredTensorPlan& plan : stored_tensors(decoder)) {
    const std::string name = plan.place.name;
    sizes.emplace_back(name, plan.bytes);
    total += plan.bytes;
    plans.emplace(name, std::move(plan));
  }
  const std::vector<std::vector<std::string>> files = plan_files(sizes, max_file_bytes);
  ordered_json weight_map = ordered_json::object();
  for (size_t file = 0; file < files.size(); ++file) {
    std::vector<NamedTensor> tensors;
    for (const std::string& name : files[file]) {
      tensors.push_back({name, values_of(plans.at(name), decoder)});
      weight_map[name] = file_name(file, files.size());
    }
    write_safetensors(directory / file_name(file, files.size()), tensors);
  }
  if (files.size() == 1) return;
  const ordered_json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  base::publish_file(directory / "model.safetensors.index.json", index.dump(2) + "\n");
}

}  // namespace

void save_hf(const std::filesystem::path& directory, const Decoder& decoder) {
  save_hf(directory, decoder, HfExport{});
}

void save_hf(const std::filesystem::path& directory, const Decoder& decoder,
             const HfExport& options) {
  publish_directory(directory, [&](const std::filesystem::path& folder) {
    const Architecture& a = decoder.architecture();
    const std::vector<int64_t> end_tokens = all_end_tokens(a, options.end_tokens);
    write_weights(folder, decoder, options.max_file_bytes);
    if (!options.companions_from.empty()) copy_companions(options.companions_from, folder);
    write_generation_config(folder / "generation_config.json", a, end_tokens);
    base::publish_file(folder / "config.json", config_of(decoder, end_tokens).dump(2) + "\n");
  });
}

}  // namespace orrery::model
