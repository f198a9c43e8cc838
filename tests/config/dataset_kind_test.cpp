#include "orrery/config/dataset_kind.h"

#include <gtest/gtest.h>

namespace orrery::config {
namespace {

TEST(DatasetKind, IsFoundByTheNameThatItHas) {
  for (const std::string& text : dataset_kind_names()) {
    const auto kind = dataset_kind_named(text);
    ASSERT_TRUE(kind.has_value()) << text;
    EXPECT_EQ(name(*kind), text);
  }
  EXPECT_EQ(dataset_kind_named("labelled"), DatasetKind::kLabelled);
  EXPECT_FALSE(dataset_kind_named("prompt").has_value());
}

}  // namespace
}  // namespace orrery::config
