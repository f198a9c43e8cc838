#include "orrery/config/synonyms.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "config_folder.h"

namespace orrery::config {
namespace {

struct GenerateOptions {
  int64_t group_size = 1;
  int64_t max_new_tokens = 8;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    field(&GenerateOptions::group_size, "group_size", "answers");
    field(&GenerateOptions::max_new_tokens, "max_new_tokens", "length");
  }
};

std::string advice(const std::string& section, const std::string& key,
                   const std::vector<std::string>& known) {
  return synonym_advice({.section = section, .key = key, .known = known},
                        {{"generate", schema_of<GenerateOptions>()}});
}

TEST(Synonyms, NameTheKeyOfTheSameSection) {
  EXPECT_EQ(advice("model.actor", "learning_rate", {"lr", "path"}), "; did you mean lr?");
  EXPECT_EQ(advice("model.actor", "learningRate", {"lr", "path"}), "; did you mean lr?");
  EXPECT_EQ(advice("model.actor", "learning-rate", {"lr", "path"}), "; did you mean lr?");
}

TEST(Synonyms, SayWhereAKeyOfAnotherSectionIs) {
  EXPECT_EQ(advice("experiment", "learning_rate", {"seed"}), "; that is model.X.lr here");
  EXPECT_EQ(advice("call.actor_train", "num_generations", {"n_seqs", "kl_coef"}),
            "; that is call.X.group_size of interface generate here");
}

TEST(Synonyms, NeverSuggestAKeyThatTheInterfaceLacks) {
  EXPECT_EQ(
      advice("call.actor_train", "beta", {"n_seqs", "kl_coef", "kl_loss"}),
      "; did you mean kl_coef or kl_loss? (beta is dpo's, a KL reward's weight is kl_coef, that "
      "of a KL loss is kl_loss)");
}

TEST(Synonyms, SayWhenThereIsNoSuchThing) {
  EXPECT_EQ(advice("experiment", "logging_steps", {"seed"}),
            "; there is no such key here (every step is written to metrics.jsonl)");
}

TEST(Synonyms, KnowNoOtherNames) { EXPECT_EQ(advice("experiment", "sede", {"seed"}), ""); }

TEST(Synonyms, HaveEachNameOnceInOrder) {
  const auto all = synonyms();
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end(), [](const Synonym& a, const Synonym& b) {
    return a.theirs < b.theirs;
  }));
  EXPECT_EQ(
      std::adjacent_find(all.begin(), all.end(),
                         [](const Synonym& a, const Synonym& b) { return a.theirs == b.theirs; }),
      all.end());
}

TEST(Synonyms, WinOverATypingErrorInAFile) {
  ConfigFolder folder;
  Parts parts;
  parts.experiment = "[experiment]\ntotal_steps = 3\nrandom_seed = 1\nsede = 1\n";
  parts.model = "[model.actor]\nlearning_rate = 1e-3\n";

  EXPECT_EQ(folder.problems(parts.text()),
            (Texts{"x.cfg:3: unknown key experiment.random_seed; did you mean seed?",
                   "x.cfg:4: unknown key experiment.sede; did you mean seed?",
                   "x.cfg:8: unknown key model.actor.learning_rate; did you mean lr?"}));
}

TEST(Synonyms, OfSectionsNameOurs) {
  EXPECT_EQ(section_synonym_advice("trainer"), "; that is [experiment] here");

  ConfigFolder folder;
  Parts parts;
  parts.rest = "[actor]\nlr = 1\n";
  const Texts problems = folder.problems(parts.text());
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].find("unknown section [actor]; did you mean [model.actor]?"),
            std::string::npos)
      << problems[0];
}

}  // namespace
}  // namespace orrery::config
