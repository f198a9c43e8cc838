// Which kind data sets of messages are of.
#include "message_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using testing::HasSubstr;

/// A graph whose call reads this key, and a data set of messages.
config::Experiment experiment_reading(const std::vector<std::string>& keys) {
  config::Experiment experiment;
  config::CallConfig call;
  for (const std::string& key : keys) call.inputs.push_back({key, key});
  experiment.calls.emplace_back("call", call);
  config::DatasetConfig dataset;
  dataset.kind = "messages";
  experiment.datasets.emplace_back("train", dataset);
  return experiment;
}

/// What is wrong with it, after it was resolved.
std::string problems_of(config::Experiment& experiment) {
  std::vector<config::Problem> problems;
  resolve_messages(experiment, problems);
  std::string text;
  for (const config::Problem& problem : problems) text += problem.message() + "\n";
  return text;
}

TEST(MessageData, AreOfTheKindThatTheCallsRead) {
  config::Experiment generates = experiment_reading({"packed_prompts"});
  EXPECT_EQ(problems_of(generates), "");
  EXPECT_EQ(generates.datasets[0].second.kind, "prompts");
  EXPECT_EQ(generates.datasets[0].second.messages_field, "messages");

  config::Experiment learns = experiment_reading({"packed_input_ids", "prompt_mask"});
  EXPECT_EQ(problems_of(learns), "");
  EXPECT_EQ(learns.datasets[0].second.kind, "completions");
}

TEST(MessageData, OfWhichNothingSaysTheKindAreAProblem) {
  config::Experiment neither = experiment_reading({"rewards"});
  EXPECT_THAT(problems_of(neither), HasSubstr("write kind = prompts or completions"));
}

TEST(MessageData, HaveNoTextsOfTheirOwnAroundThem) {
  config::Experiment experiment = experiment_reading({"packed_prompts"});
  experiment.datasets[0].second.prompt_prefix = "Q: ";
  experiment.datasets[0].second.add_bos = "true";
  const std::string problems = problems_of(experiment);
  EXPECT_THAT(problems, HasSubstr("writes all that stands around messages"));
  EXPECT_THAT(problems, HasSubstr("says how messages begin"));
}

TEST(MessageData, AreNoPreferences) {
  config::Experiment experiment = experiment_reading({"packed_input_ids"});
  experiment.datasets[0].second.kind = "preferences";
  experiment.datasets[0].second.messages_field = "messages";
  EXPECT_THAT(problems_of(experiment), HasSubstr("have no messages"));
}

}  // namespace
}  // namespace orrery::cli
