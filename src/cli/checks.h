// Collects what is wrong with a job, and what may be meant but is worth a look, each with its key's
// file and line. Rank 0, before anything is allocated; the checks themselves are in files by
// subject: model_checks.cpp, data_checks.cpp.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "job.h"
#include "orrery/base/error.h"
#include "orrery/config/load.h"  // problem_of
#include "orrery/data/tokenizer.h"

namespace orrery::cli {

class Checks {
 public:
  /// `problems` are those that reading the configuration has found.
  Checks(Job& job, std::vector<config::Problem> problems)
      : job_(job), problems_(std::move(problems)) {}

  std::vector<config::Problem>& problems() { return problems_; }

  void add(const std::string& key, const std::string& text) {
    problems_.push_back(config::problem_of(job_.experiment, key, text));
  }

  /// What may be meant: the run starts, and says it.
  void warn(const std::string& key, const std::string& text) {
    job_.warnings.push_back(config::problem_of(job_.experiment, key, text));
  }

  /// Whether someone wrote this key. A section that states all of its keys is a run's config.cfg,
  /// where those with their defaults were not written by anyone.
  bool is_written(const std::string& key) const;
  /// Whether `value` is the default of this key of a data set or model.
  static bool is_default(const std::string& key, const std::string& value);

  /// Runs `work`; an Error becomes a problem of `key`.
  template <class Work>
  void guard(const std::string& key, const Work& work) {
    try {
      work();
    } catch (const Error& error) {
      add(key, error.what());
    }
  }

  /// A tokenizer is read once, however many roles have it. Throws as data::make_tokenizer.
  const data::Tokenizer& tokenizer(const std::string& name);
  /// What the tokenizer of a model's directory puts before a text; nothing where there is none that
  /// this program can run. Throws ConfigError for files that cannot be read.
  std::vector<int32_t> own_template_tokens(const std::string& directory);

 private:
  Job& job_;
  std::vector<config::Problem> problems_;
  std::map<std::string, std::unique_ptr<data::Tokenizer>> tokenizers_;
};

}  // namespace orrery::cli
