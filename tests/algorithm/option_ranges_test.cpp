// Whatever is written for an option that is no value of it is refused before a run, with file and
// line: for each option of each interface that learns from generated answers, preferences or a
// teacher.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "orrery/algorithm/registry.h"
#include "orrery/base/text.h"
#include "orrery/config/load.h"

namespace orrery::algorithm {
namespace {

const std::vector<std::string> kInterfaces = {"grpo",    "ppo_actor",    "ppo_critic",  "dpo",
                                              "distill", "distill_full", "reward_model"};

/// What is said of a train_step that has `value` for each of its options.
std::string said(const std::string& interface, const std::string& value) {
  std::string text =
      "[experiment]\nname = x\n[call.train]\nkind = train_step\ninterface = " + interface + "\n";
  const config::InterfaceSchemas schemas = interface_schemas();
  for (const config::FieldInfo& field : schemas.at(interface)) {
    text += field.name + " = " + value + "\n";
  }
  std::string all;
  const config::LoadResult loaded = config::load_experiment_text(text, "x.cfg", schemas);
  for (const config::Problem& each : loaded.problems) {
    all += each.message() + "\n";
  }
  return all;
}

/// Options of `interface` about which nothing is said, with file and line.
std::set<std::string> accepted(const std::string& interface, const std::string& value) {
  const std::string text = said(interface, value);
  std::set<std::string> names;
  const config::InterfaceSchemas schemas = interface_schemas();
  for (const config::FieldInfo& field : schemas.at(interface)) {
    const size_t at = text.find(base::concat("call.train.", field.name, ": "));
    const size_t line = text.rfind('\n', at) + 1;
    const bool is_placed = at != std::string::npos && text.substr(line).starts_with("x.cfg:");
    if (!is_placed) names.insert(field.name);
  }
  return names;
}

TEST(OptionRanges, LeaveNoOptionThatTakesWhatIsNoNumberAndNoWord) {
  for (const std::string& interface : kInterfaces) {
    for (const char* value : {"nan", "inf", "-inf", "1e400", "nonsense", "1,5", "0x1p3 x"}) {
      SCOPED_TRACE(interface + " " + value);
      EXPECT_THAT(accepted(interface, value), testing::IsEmpty());
    }
  }
}

TEST(OptionRanges, LeaveOnlyThoseBelow0ThatHaveASign) {
  const std::set<std::string> signs = {"reward_scaling",  "reward_bias",     "reward_weight",
                                       "reward_weight_2", "reward_weight_3", "output_scaling",
                                       "output_bias"};
  for (const std::string& interface : kInterfaces) {
    SCOPED_TRACE(interface);
    for (const std::string& name : accepted(interface, "-0.5")) {
      EXPECT_TRUE(signs.contains(name)) << name;
    }
  }
}

}  // namespace
}  // namespace orrery::algorithm
