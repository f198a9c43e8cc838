#include "origin_checks.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/data/bpe_tokenizer.h"  // check_tokenizer_files
#include "orrery/data/token_index.h"
#include "orrery/graph/replica.h"
#include "orrery/model/checkpoint_model.h"
#include "tokenizer_choice.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

/// Vocabularies of bytes are padded to such sizes at most.
constexpr int64_t kMostByteTokens = 512;

class OriginChecks {
 public:
  OriginChecks(const Job& job, Checks& checks) : job_(job), checks_(checks) {
    for (const graph::Replica& replica : graph::replicas_of(job.graph)) {
      if (replica.is_trained) changing_.insert(replica.id.role);
    }
    for (const graph::Call& call : job.graph.calls()) {
      if (!call.post_realloc.empty()) changing_.insert(call.post_realloc);
    }
    for (const std::string& role : changing_) {
      const config::ModelConfig* model = job.experiment.find_model(role);
      if (model != nullptr && !model->path.empty()) with_files_ = role;
    }
  }

  void run() {
    for (const auto& [role, architecture] : job_.architectures) {
      const config::ModelConfig& model = *job_.experiment.find_model(role);
      if (model.path.empty()) {
        check_random(role);
        continue;
      }
      check_sizes(role, model, architecture);
      check_value_head(role, model);
      checks_.guard(key_of(role, "path"), [&] { check_tokenizer(role, model, architecture); });
    }
  }

 private:
  static std::string key_of(const std::string& role, const char* name = "") {
    return base::concat("model.", role, *name == '\0' ? "" : ".", name);
  }

  void check_random(const std::string& role) {
    if (!changing_.contains(role) && !with_files_.empty()) {
      checks_.add(
          key_of(role),
          base::concat("it has no path, so its weights are random, and nothing trains it: "
                       "what it says means nothing to ",
                       with_files_, ", which begins with files; set model.", role, ".path"));
      return;
    }
    checks_.warn(key_of(role), base::concat("it has no path: it begins with random weights",
                                            changing_.contains(role) ? "" : " and keeps them"));
  }

  /// Sizes beside a path are read from its files.
  void check_sizes(const std::string& role, const config::ModelConfig& model,
                   const model::Architecture& a) {
    const std::array<std::pair<const char*, std::pair<int64_t, int64_t>>, 7> sizes = {
        {{"vocab_size", {model.vocab_size, a.vocab_size}},
         {"hidden_size", {model.hidden_size, a.hidden_size}},
         {"intermediate_size", {model.intermediate_size, a.intermediate_size}},
         {"n_layers", {model.n_layers, a.n_layers}},
         {"n_heads", {model.n_heads, a.n_heads}},
         {"n_kv_heads", {model.n_kv_heads, a.n_kv_heads}},
         {"max_positions", {model.max_positions, a.max_positions}}}};
    for (const auto& [name, size] : sizes) {
      const std::string key = key_of(role, name);
      if (size.first == size.second || !checks_.is_written(key)) continue;
      checks_.warn(key, base::concat(size.first, " has no effect: the files of model.", role,
                                     ".path say ", size.second));
    }
  }

  /// A head that begins at random must be trained before it is asked.
  void check_value_head(const std::string& role, const config::ModelConfig& model) {
    if (model.head != "value" || changing_.contains(role) || model::is_checkpoint(model.path)) {
      return;
    }
    checks_.guard(key_of(role, "path"), [&] {
      if (model::Architecture::from_hf_config(fs::path(model.path) / "config.json").value_head) {
        return;
      }
      checks_.add(key_of(role, "path"),
                  base::concat(model.path,
                               " is a language model: its value head would be random, and nothing "
                               "trains it; use a reward model or critic that was trained"));
    });
  }

  void check_tokenizer(const std::string& role, const config::ModelConfig& model,
                       const model::Architecture& architecture) {
    const std::string key = key_of(role, "tokenizer");
    if (base::exists(fs::path(model.path) / "tokenizer.json")) {
      if (data::is_token_file(model.tokenizer)) return check_table(key, model);
      if (have_equal_tokenizers(model.tokenizer, model.path)) return;
      checks_.warn(key,
                   base::concat("the run's tokenizer is ", model.tokenizer, ", but ", model.path,
                                " has another: its model knows these tokens by other numbers"));
      return;
    }
    if (model.tokenizer != "byte") return;
    for (const char* name : {"tokenizer.model", "spiece.model", "vocab.json", "vocab.txt",
                             "merges.txt", "tekken.json"}) {
      if (!base::exists(fs::path(model.path) / name)) continue;
      const std::string text =
          base::concat("the run's tokenizer is byte, but ", model.path, " has ", name,
                       ": this model does not read bytes; save its fast tokenizer there "
                       "(AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) writes a "
                       "tokenizer.json), or make pre-tokenized datasets with tools/tokenize.py");
      checks_.is_written(key) ? checks_.warn(key, text) : checks_.add(key, text);
      return;
    }
    if (architecture.vocab_size < kMostByteTokens) return;
    checks_.warn(key, base::concat("the run's tokenizer is byte (", data::ByteTokenizer::kVocabSize,
                                   " tokens), but ", model.path, " has a vocabulary of ",
                                   architecture.vocab_size,
                                   " and no tokenizer.json: was it trained on bytes?"));
  }

  /// The table of a pre-tokenized dataset against the model's own tokenizer, where that can be
  /// read.
  void check_table(const std::string& key, const config::ModelConfig& model) {
    data::check_tokenizer_files(model.path);
    try {
      const data::Tokenizer& table = checks_.tokenizer(model.tokenizer);
      const data::Tokenizer& own = checks_.tokenizer(model.path);
      const int32_t n = std::min(table.vocab_size(), own.vocab_size());
      for (int32_t id = 0; id < n; ++id) {
        if (table.bytes_of(id) == own.bytes_of(id)) continue;
        checks_.warn(key, base::concat(model.tokenizer, " was made with another tokenizer than ",
                                       model.path, " has: token ", id, " is \"", table.bytes_of(id),
                                       "\" there and \"", own.bytes_of(id), "\" in the model"));
        return;
      }
    } catch (const Error&) {
      // A tokenizer that this program cannot run is why there is a pre-tokenized dataset.
    }
  }

  const Job& job_;
  Checks& checks_;
  std::set<std::string> changing_;  // roles whose weights a step changes
  std::string with_files_;          // a role that has a path; empty: none
};

}  // namespace

void check_origins(const Job& job, Checks& checks) { OriginChecks(job, checks).run(); }

}  // namespace orrery::cli
