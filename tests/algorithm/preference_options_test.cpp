// Combinations of preference losses, data and keys that have no meaning are named before a run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "orrery/algorithm/registry.h"
#include "orrery/config/load.h"

namespace orrery::algorithm {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

struct Said {
  std::vector<std::string> problems, warnings;
};

/// Of a data set of this kind and a train_step with these lines.
Said said(const std::string& kind, const std::string& lines, const std::string& interface = "dpo") {
  const std::string text =
      "[experiment]\nname = x\n[dataset.train]\npath = x.jsonl\nkind = " + kind +
      "\n[model.actor]\nhidden_size = 32\n[call.c]\nmodel = actor\nkind = train_step\n"
      "n_seqs = 4\ninterface = " +
      interface + "\n" + lines;
  const config::LoadResult loaded =
      config::load_experiment_text(text, "here.cfg", interface_schemas());
  std::vector<config::Problem> problems, warnings;
  check_calls(loaded.experiment, problems, warnings);
  Said result;
  for (const config::Problem& each : problems) result.problems.push_back(each.message());
  for (const config::Problem& each : warnings) result.warnings.push_back(each.message());
  return result;
}

const std::string kPairs = "inputs = packed_input_ids, prompt_mask, ref_seqlogp\n";
const std::string kPairsAlone = "inputs = packed_input_ids, prompt_mask\n";
const std::string kAnswers =
    "inputs = packed_input_ids, prompt_mask, desirable, ref_seqlogp, kl_input_ids, "
    "kl_prompt_mask, kl_ref_seqlogp\n";

TEST(PreferenceOptions, ThatBelongTogetherAreAccepted) {
  EXPECT_THAT(said("preferences", kPairs).problems, IsEmpty());
  EXPECT_THAT(said("preferences", kPairs + "loss = robust_dpo\nlabel_smoothing = 0.1\n").problems,
              IsEmpty());
  EXPECT_THAT(said("preferences", kPairsAlone + "loss = simpo\ngamma = 0.5\n").problems, IsEmpty());
  EXPECT_THAT(said("labelled", kAnswers + "loss = kto\n").problems, IsEmpty());
}

TEST(PreferenceOptions, ThatTheLossDoesNotHaveAreNamed) {
  EXPECT_THAT(said("preferences", kPairs + "loss = robust_dpo\nlabel_smoothing = 0.5\n").problems,
              Contains(AllOf(HasSubstr("here.cfg"), HasSubstr("call.c.label_smoothing"),
                             HasSubstr("less than 0.5"))));
  EXPECT_THAT(said("preferences", kPairs + "gamma = 0.5\n").problems,
              Contains(AllOf(HasSubstr("call.c.gamma"), HasSubstr("loss = dpo has none"))));
  EXPECT_THAT(said("preferences", kPairs + "loss = ipo\nlabel_smoothing = 0.1\n").problems,
              Contains(HasSubstr("call.c.label_smoothing")));
  EXPECT_THAT(said("preferences", kPairs + "desirable_weight = 2\n").problems,
              Contains(HasSubstr("call.c.desirable_weight")));
  EXPECT_THAT(
      said("preferences", kPairsAlone + "loss = orpo\nlength_normalization = none\n").problems,
      Contains(HasSubstr("call.c.length_normalization")));
  EXPECT_THAT(said("labelled", kAnswers + "loss = kto\nnll_coef = 1\n").problems,
              Contains(HasSubstr("call.c.nll_coef")));
}

TEST(PreferenceOptions, OfALikelihoodThatHasNoWeightAreNamed) {
  const std::string reduction = "nll_reduction = sequence_mean\n";
  EXPECT_THAT(said("preferences", kPairs + reduction).warnings,
              Contains(HasSubstr("call.c.nll_reduction: has no effect without nll_coef")));
  EXPECT_THAT(said("preferences", kPairs + "nll_coef = 1\n" + reduction).warnings, IsEmpty());
}

TEST(PreferenceOptions, SmoothedLabelsThatSayNothingAreRefused) {
  const std::string half = "label_smoothing = 0.5\nloss = ";
  EXPECT_THAT(said("preferences", kPairs + half + "dpo\n").problems,
              Contains(AllOf(HasSubstr("here.cfg:"), HasSubstr("call.c.label_smoothing"),
                             HasSubstr("its gradient is 0; write less than 0.5"))));
  for (const char* loss : {"cpo", "simpo"}) {
    EXPECT_THAT(said("preferences", kPairsAlone + half + loss + "\n").problems,
                Contains(HasSubstr("learns nothing of which answer is the better one; write")))
        << loss;
  }
  for (const char* more : {"simpo\ngamma = 0.5\n", "cpo\nnll_coef = 1\n"}) {
    const Said got = said("preferences", kPairsAlone + half + more);
    EXPECT_THAT(got.problems, IsEmpty()) << more;
    EXPECT_THAT(got.warnings, Contains(HasSubstr("alone which answer"))) << more;
  }
}

TEST(PreferenceOptions, NeedAReferenceOnlyWhereTheLossHasOne) {
  EXPECT_THAT(said("preferences", kPairsAlone).problems,
              Contains(HasSubstr("loss = dpo needs the key ref_seqlogp")));
  const Said given = said("preferences", kPairs + "loss = cpo\n");
  EXPECT_THAT(given.problems, IsEmpty());
  EXPECT_THAT(given.warnings, Contains(HasSubstr("loss = cpo has no reference")));
}

TEST(PreferenceOptions, OfSingleAnswersAreNotForPairs) {
  EXPECT_THAT(said("preferences", kPairs + "loss = kto\n").problems,
              Contains(HasSubstr("loss = kto needs the key desirable")));
  EXPECT_THAT(said("labelled", kPairs).problems,
              Contains(HasSubstr("dataset.train is of kind labelled")));
  EXPECT_THAT(said("labelled", kAnswers).problems, Contains(HasSubstr("write loss = kto")));
}

TEST(PreferenceOptions, TakeAllKeysOfTheMismatchedAnswersOrNone) {
  const std::string labels = "inputs = packed_input_ids, prompt_mask, desirable, ref_seqlogp";
  EXPECT_THAT(said("labelled", labels + ", kl_input_ids\nloss = kto\n").problems,
              Contains(HasSubstr("belong together")));
  EXPECT_THAT(said("labelled", labels + "\nloss = kto\n").warnings,
              Contains(HasSubstr("a divergence of 0")));
}

TEST(PreferenceOptions, NameMarginsThatTheDataSetDoesNotHave) {
  EXPECT_THAT(said("preferences", "inputs = packed_input_ids, margins\n", "reward_model").problems,
              Contains(HasSubstr("set dataset.train.margin_field")));
}

}  // namespace
}  // namespace orrery::algorithm
