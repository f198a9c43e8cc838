#include <gtest/gtest.h>

#include "config_folder.h"

namespace orrery::config {
namespace {

TEST(Consistency, TheRunMustEnd) {
  Parts parts;
  parts.experiment = "[experiment]\nname = x\n";
  ConfigFolder folder;

  EXPECT_EQ(folder.problems(parts.text()),
            (Texts{"x.cfg:1: the run would never end: set experiment.total_steps, total_epochs or "
                   "total_seconds"}));
  for (const char* end : {"total_steps=1", "total_epochs=1", "total_seconds=0.5"}) {
    EXPECT_EQ(folder.problems(parts.text(), {std::string("experiment.") + end}), Texts()) << end;
  }
}

TEST(Consistency, AFieldHasOneMeaning) {
  const auto problems = [](const char* set) {
    const Texts texts = ConfigFolder().problems(Parts().text(), {set});
    return texts.empty() ? std::string("none") : texts[0];
  };
  EXPECT_EQ(
      problems("dataset.train.answer_field=prompt"),
      "--set dataset.train.answer_field=prompt: dataset.train.answer_field: the field prompt is "
      "already prompt_field; a field has one meaning");
  EXPECT_NE(problems("dataset.train.system_field=prompt"), "none");
  EXPECT_NE(problems("dataset.train.id_field=answer"), "none");
  EXPECT_EQ(problems("dataset.train.completion_field=prompt"), "none");  // not of this kind
  EXPECT_EQ(problems("dataset.train.id_field="), "none");
}

TEST(Consistency, ACallNeedsItsModel) {
  Parts parts;
  parts.rest = "[call.b]\nmodel = actro\nkind = train_step\ninterface = learn\nn_seqs = 8\n";

  EXPECT_EQ(ConfigFolder().problems(parts.text()),
            (Texts{"x.cfg:15: call.b.model: there is no [model.actro]; did you mean actor?"}));
}

TEST(Consistency, AModelThatNoCallUsesIsAMisspelledName) {
  EXPECT_EQ(ConfigFolder().problems(Parts().text(), {"model.actr.lr=1e-4"}),
            (Texts{"--set model.actr.lr=1e-4: no call uses [model.actr]; did you mean actor?"}));
}

TEST(Consistency, AModelOfACallThatIsSwitchedOffIsUsed) {
  Parts parts;
  parts.rest = "[model.ref]\n[call.ref_inf]\nenabled = false\nmodel = ref\n";

  EXPECT_EQ(ConfigFolder().problems(parts.text()), Texts());
}

TEST(Consistency, AModelThatOnlyFollowsAnotherIsUsed) {
  Parts parts;
  parts.call += "post_realloc = average\n";
  parts.rest = "[model.average]\n";

  EXPECT_EQ(ConfigFolder().problems(parts.text()), Texts());
}

TEST(Consistency, EvaluationNeedsADatasetThatIsThere) {
  ConfigFolder folder;

  EXPECT_EQ(folder.problems(Parts().text(), {"evaluate.dataset=trian"}),
            (Texts{"--set evaluate.dataset=trian: evaluate.dataset: there is no [dataset.trian]; "
                   "did you mean train?"}));
  EXPECT_EQ(folder.problems(Parts().text() + "[evaluate]\nevery_steps = 5\n"),
            (Texts{"x.cfg:15: evaluate.every_steps: evaluate.dataset or sets is missing"}));
  EXPECT_EQ(folder.problems(Parts().text() + "[evaluate]\nevery_seconds = 0.5\n"),
            (Texts{"x.cfg:15: evaluate.every_seconds: evaluate.dataset or sets is missing"}));
}

TEST(Consistency, AFallingLearningRateNeedsALength) {
  ConfigFolder folder;
  Parts parts;
  parts.experiment = "[experiment]\ntotal_seconds = 9\n";
  parts.model = "[model.actor]\nlr_schedule = cosine\nwarmup_proportion = 0.1\n";
  parts.rest = "[call.b]\nmodel = actor\nkind = train_step\ninterface = learn\nn_seqs = 8\n";

  EXPECT_EQ(folder.problems(parts.text()),
            (Texts{"x.cfg:6: model.actor.lr_schedule: cosine needs experiment.total_steps or "
                   "total_epochs: its length",
                   "x.cfg:7: model.actor.warmup_proportion: needs experiment.total_steps or "
                   "total_epochs: its length"}));
  EXPECT_EQ(folder.problems(parts.text(), {"experiment.total_epochs=2"}), Texts());
}

TEST(Consistency, TheScheduleOfAModelThatIsNotTrainedDoesNotMatter) {
  Parts parts;
  parts.experiment = "[experiment]\ntotal_seconds = 9\n";
  parts.model = "[model.actor]\nlr_schedule = linear\n";

  EXPECT_EQ(ConfigFolder().problems(parts.text()), Texts());
}

}  // namespace
}  // namespace orrery::config
