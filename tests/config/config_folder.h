// Configuration files of one test, and what reading them finds.
#pragma once

#include <fstream>
#include <string>
#include <vector>

#include "base/temporary_folder.h"
#include "orrery/config/load.h"

namespace orrery::config {

/// The options of interface `gen`.
struct GenOptions {
  int64_t group_size = 1;
  double temperature = 1;
  std::string match = "exact";

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    field(&GenOptions::group_size, "group_size", "answers for each prompt", at_least(1));
    field(&GenOptions::temperature, "temperature", "divides the logits", above(0));
    field(&GenOptions::match, "match", "how answers are compared", one_of({"exact", "numeric"}));
  }
};

struct NoOptions {
  template <class Visitor>
  static void visit_fields(Visitor&) {}
};

inline InterfaceSchemas some_interfaces() {
  return {{"gen", schema_of<GenOptions>()}, {"learn", schema_of<NoOptions>()}};
}

/// A complete configuration without a mistake, in parts that a test can replace.
struct Parts {
  std::string experiment = "[experiment]\ntotal_steps = 3\n";
  std::string dataset = "[dataset.train]\npath = train.jsonl\n";
  std::string model = "[model.actor]\nlr = 1e-3\n";
  std::string call =
      "[call.actor_gen]\nmodel = actor\nkind = generate\ninterface = gen\nn_seqs = 8\n"
      "inputs = packed_prompts\noutputs = packed_input_ids\n";
  std::string rest;

  std::string text() const { return experiment + dataset + model + call + rest; }
};

class ConfigFolder {
 public:
  ConfigFolder() { write("train.jsonl", "{}\n"); }

  std::string write(const std::string& name, const std::string& content) const {
    const std::filesystem::path file = folder_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
    return file.string();
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  /// Reads `text` as x.cfg of this folder.
  LoadResult load(const std::string& text, const std::vector<std::string>& sets = {}) const {
    return load_experiment(write("x.cfg", text), sets, some_interfaces());
  }

  /// The problems of it, each as `x.cfg:3: text`.
  std::vector<std::string> problems(const std::string& text,
                                    const std::vector<std::string>& sets = {}) const {
    return messages(load(text, sets).problems);
  }

  /// Messages with paths relative to this folder.
  std::vector<std::string> messages(const std::vector<Problem>& problems) const {
    std::vector<std::string> texts;
    const std::string prefix = folder_.path().string() + "/";
    for (const Problem& problem : problems) {
      std::string text = problem.message();
      for (size_t at; (at = text.find(prefix)) != std::string::npos;) text.erase(at, prefix.size());
      texts.push_back(std::move(text));
    }
    return texts;
  }

 private:
  TemporaryFolder folder_;
};

using Texts = std::vector<std::string>;

}  // namespace orrery::config
