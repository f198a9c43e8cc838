#include "orrery/config/command_line.h"

#include <gtest/gtest.h>

#include "orrery/base/error.h"

namespace orrery::config {
namespace {

using Arguments = std::vector<std::string>;

std::string train_failure(const Arguments& arguments) {
  try {
    parse_train_options(arguments);
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.exit_code(), 2);
    return error.what();
  }
  return "none";
}

std::string plan_failure(const Arguments& arguments) {
  try {
    parse_plan_options(arguments);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "none";
}

TEST(TrainOptions, AreReadInAnyOrder) {
  const TrainOptions options = parse_train_options(
      Arguments{"--set", "model.actor.lr=1e-5", "x.cfg", "--resume", "off", "--set=a.b=c"});

  EXPECT_EQ(options.config, "x.cfg");
  EXPECT_EQ(options.sets, (Arguments{"model.actor.lr=1e-5", "a.b=c"}));
  EXPECT_EQ(options.resume, "off");
  EXPECT_FALSE(options.help);
}

TEST(TrainOptions, ResumeByThemselves) {
  const TrainOptions options = parse_train_options(Arguments{"x.cfg"});

  EXPECT_EQ(options.resume, "auto");
  EXPECT_TRUE(options.sets.empty());
}

TEST(TrainOptions, TakeASetThatBeginsWithADash) {
  EXPECT_EQ(parse_train_options(Arguments{"x.cfg", "--set=a.b=-1"}).sets, Arguments{"a.b=-1"});
}

TEST(TrainOptions, HelpNeedsNoConfiguration) {
  EXPECT_TRUE(parse_train_options(Arguments{"--help"}).help);
  EXPECT_TRUE(parse_train_options(Arguments{"-h", "--markdown"}).markdown);
}

TEST(TrainOptions, SayWhatIsWrong) {
  EXPECT_EQ(train_failure({}),
            "orrery train: no configuration file given; write orrery train CONFIG");
  EXPECT_EQ(train_failure({"x.cfg", "--resmue", "off"}),
            "orrery train: unknown option --resmue; did you mean --resume?; see orrery train "
            "--help");
  EXPECT_EQ(train_failure({"x.cfg", "--gpu"}),
            "orrery train: unknown option --gpu; see orrery train --help");
  EXPECT_NE(train_failure({"x.cfg", "--set"}).find("'--set'"), std::string::npos);
  EXPECT_NE(train_failure({"x.cfg", "y.cfg"}).find("positional"), std::string::npos);
  EXPECT_NE(train_failure({"x.cfg", "--res", "off"}), "none");  // no abbreviations
}

TEST(PlanOptions, CountWorkers) {
  EXPECT_EQ(parse_plan_options(Arguments{"x.cfg", "--workers", "8"}).workers, 8);
  EXPECT_EQ(parse_plan_options(Arguments{"x.cfg"}).workers, 0);
}

TEST(PlanOptions, SayWhatIsWrong) {
  EXPECT_EQ(plan_failure({"x.cfg", "--workers", "0"}),
            "orrery plan: --workers must be 1 to 1000000, got 0");
  EXPECT_EQ(plan_failure({"x.cfg", "--workers", "-2"}),
            "orrery plan: --workers must be 1 to 1000000, got -2");
  EXPECT_EQ(plan_failure({"x.cfg", "--workers", "2000000000"}),
            "orrery plan: --workers must be 1 to 1000000, got 2000000000");
  EXPECT_NE(plan_failure({"x.cfg", "--workers", "two"}).find("'two'"), std::string::npos);
  EXPECT_EQ(plan_failure({}), "orrery plan: no configuration file given; write orrery plan CONFIG");
}

TEST(OptionsHelp, NamesEveryOption) {
  for (const char* option : {"--set", "--resume", "--help", "--markdown"}) {
    EXPECT_NE(train_options_help().find(option), std::string::npos) << option;
  }
  for (const char* option : {"--set", "--workers", "--help"}) {
    EXPECT_NE(plan_options_help().find(option), std::string::npos) << option;
  }
}

}  // namespace
}  // namespace orrery::config
