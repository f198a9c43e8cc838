#include "orrery/config/renamed_keys.h"

#include <gmock/gmock.h>

#include "config_folder.h"

namespace orrery::config {
namespace {

using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::IsEmpty;

/// What a call's `ema_decay` becomes when `lines` stand in its section.
LoadResult with(const std::string& lines, const std::vector<std::string>& sets = {}) {
  Parts parts;
  parts.call += lines;
  return ConfigFolder().load(parts.text(), sets);
}

double ema_decay(const LoadResult& result) {
  return result.experiment.calls.front().second.ema_decay;
}

TEST(RenamedKeys, AreReadUnderTheirNewNamesWithANotice) {
  const LoadResult result = with("eta = 0.1\n");
  EXPECT_THAT(result.problems, IsEmpty());
  EXPECT_DOUBLE_EQ(ema_decay(result), 0.9);
  EXPECT_THAT(result.notices,
              ElementsAre(Field(&Problem::text,
                                HasSubstr("call.actor_gen.eta is now called ema_decay; this "
                                          "version reads it as ema_decay = 0.9"))));
}

TEST(RenamedKeys, AreTheSameKeyTwiceBesideTheirNewNames) {
  EXPECT_THAT(
      with("eta = 0.1\nema_decay = 0.9\n").problems,
      ElementsAre(Field(&Problem::text, HasSubstr("call.actor_gen.ema_decay is given twice"))));
}

TEST(RenamedKeys, OverrideTheNewNameOfAnEarlierFile) {
  EXPECT_DOUBLE_EQ(ema_decay(with("ema_decay = 0.5\n", {"call.actor_gen.eta=0.25"})), 0.75);
}

TEST(RenamedKeys, AreKeptForOtherSections) {
  Parts parts;
  parts.model += "eta = 0.1\n";
  EXPECT_THAT(ConfigFolder().load(parts.text()).problems,
              ElementsAre(Field(&Problem::text, HasSubstr("unknown key model.actor.eta"))));
}

TEST(RenamedKeys, TurnYesAndNoIntoAllAndNone) {
  const auto layers = [](const std::string& value) {
    Parts parts;
    parts.model += "recompute_activations = " + value + "\n";
    const LoadResult result = ConfigFolder().load(parts.text());
    EXPECT_THAT(result.problems, IsEmpty());
    return result.experiment.find_model("actor")->recompute_layers;
  };
  EXPECT_EQ(layers("true"), "all");
  EXPECT_EQ(layers("no"), "0");
}

TEST(RenamedKeys, LeaveAValueThatIsNoNumberToItsReader) {
  EXPECT_THAT(with("eta = much\n").problems,
              ElementsAre(Field(&Problem::text, HasSubstr("call.actor_gen.ema_decay"))));
}

}  // namespace
}  // namespace orrery::config
