#include "tokenizer_choice.h"

#include <algorithm>
#include <filesystem>
#include <string>

#include "orrery/algorithm/registry.h"  // only_reads_texts
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "orrery/config/load.h"  // problem_of
#include "orrery/data/token_index.h"

namespace orrery::cli {

namespace {

/// The first pre-tokenized dataset, if no data set is text and no role names a tokenizer: its table
/// is all that the run needs. Else nothing.
std::string token_file_of(const config::Experiment& experiment) {
  const bool is_named =
      std::any_of(experiment.models.begin(), experiment.models.end(),
                  [](const auto& named) { return named.second.tokenizer != "auto"; });
  if (is_named || experiment.datasets.empty()) return "";
  const bool are_tokens =
      std::all_of(experiment.datasets.begin(), experiment.datasets.end(),
                  [](const auto& named) { return data::is_token_file(named.second.path); });
  return are_tokens ? experiment.datasets.front().second.path : "";
}

}  // namespace

bool have_equal_tokenizers(const std::string& a, const std::string& b) {
  if (a == b) return true;
  const auto file_of = [](const std::string& name) {
    const std::filesystem::path path(name);
    return base::is_folder(path) ? path / "tokenizer.json" : path;
  };
  if (a == "byte" || b == "byte") return false;
  if (!base::exists(file_of(a)) || !base::exists(file_of(b))) return false;
  if (base::file_size(file_of(a)) != base::file_size(file_of(b))) return false;
  return base::read_file(file_of(a)) == base::read_file(file_of(b));
}

void resolve_tokenizers(config::Experiment& experiment, std::vector<config::Problem>& warnings) {
  if (const std::string tokens = token_file_of(experiment); !tokens.empty()) {
    for (auto& [role, model] : experiment.models) {
      if (model.tokenizer == "auto") model.tokenizer = tokens;
    }
  }
  for (auto& [role, model] : experiment.models) {
    if (model.tokenizer == "auto" && !model.path.empty() &&
        base::exists(std::filesystem::path(model.path) / "tokenizer.json")) {
      model.tokenizer = model.path;
    }
  }
  std::string shared = "byte";
  std::string owner;  // a role that has it, if it is not byte by default
  for (const auto& [role, model] : experiment.models) {
    if (model.tokenizer == "auto" || algorithm::only_reads_texts(experiment, role)) continue;
    shared = model.tokenizer;
    owner = role;
    break;
  }
  for (auto& [role, model] : experiment.models) {
    if (model.tokenizer != "auto") {
      if (have_equal_tokenizers(model.tokenizer, shared)) model.tokenizer = shared;
      continue;
    }
    model.tokenizer = shared;
    // Of files that are to be read as bytes origin_checks.cpp says whether they are.
    if (shared == "byte" || model.path.empty()) continue;
    if (model.path == experiment.find_model(owner)->path) continue;
    warnings.push_back(config::problem_of(
        experiment, base::concat("model.", role, ".tokenizer"),
        base::concat(model.path, " has none of its own; taken from model.", owner, " (", shared,
                     "): was this model trained with it?")));
  }
}

}  // namespace orrery::cli
