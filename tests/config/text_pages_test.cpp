// Help and documentation are made from the field lists.
#include <gtest/gtest.h>

#include "config_folder.h"

namespace orrery::config {
namespace {

TEST(ConfigurationHelp, HasEveryKeyWithDefaultMeaningAndLimits) {
  const std::string help = configuration_help(some_interfaces());

  EXPECT_NE(help.find("\n[model.X]\n"), std::string::npos);
  EXPECT_NE(help.find("  lr = 1e-05\n      peak learning rate (0 to 1)\n"), std::string::npos);
  EXPECT_NE(help.find("\n[call.X] with interface = gen\n  group_size = 1\n"
                      "      answers for each prompt (at least 1)\n"),
            std::string::npos);
  EXPECT_EQ(help.find("interface = learn"), std::string::npos);  // it has no options
}

TEST(ConfigurationMarkdown, HasATableForEachSectionAndInterface) {
  const std::string page = configuration_markdown(some_interfaces());

  for (const char* section : {"experiment", "layout", "dataset.X", "model.X", "call.X", "evaluate",
                              "export", "checkpoint"}) {
    EXPECT_NE(page.find(std::string("\n## [") + section + "]\n"), std::string::npos) << section;
  }
  EXPECT_NE(page.find("| `lr` | `1e-05` | 0 to 1 | peak learning rate |\n"), std::string::npos);
  EXPECT_NE(page.find("| `dataset` |  | text |"), std::string::npos);
  EXPECT_NE(page.find("## Options of interface gen\n\n| key |"), std::string::npos);
  EXPECT_NE(page.find("## Options of interface learn\n\nNo options.\n"), std::string::npos);
}

struct BarOptions {
  std::string mode = "a";
  template <class Visitor>
  static void visit_fields(Visitor& field) {
    field(&BarOptions::mode, "mode", "a|b", anything());
  }
};

TEST(ConfigurationMarkdown, ABarInATextDoesNotEndItsCell) {
  EXPECT_NE(configuration_markdown({{"bar", schema_of<BarOptions>()}})
                .find("| `mode` | `a` | text | a\\|b |\n"),
            std::string::npos);
}

}  // namespace
}  // namespace orrery::config
