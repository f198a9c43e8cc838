#include "orrery/algorithm/answer_selection.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

namespace orrery::algorithm {
namespace {

const at::Tensor kScores = at::tensor({1.0, 0.0, 3.0, 2.0, 2.0, 7.0}, at::kFloat);
const std::vector<int32_t> kGroups = {3, 2, 1};

void expect_selected(const SelectionOptions& options, const std::vector<int>& expected) {
  const at::Tensor all = at::ones({6}, at::kBool);
  EXPECT_TRUE(at::equal(selected_answers(kScores, kGroups, all, options),
                        at::tensor(expected, at::kInt).to(at::kBool)));
}

TEST(SelectedAnswers, AreAllWithoutAnOption) { expect_selected({}, {1, 1, 1, 1, 1, 1}); }

TEST(SelectedAnswers, LeaveOutGroupsThatTeachNothing) {
  expect_selected({.skip_uniform_groups = true, .best_of = 0}, {1, 1, 1, 0, 0, 1});
}

TEST(SelectedAnswers, AreTheBestOfEachGroupTheFirstOfEqualOnes) {
  expect_selected({.skip_uniform_groups = false, .best_of = 1}, {0, 0, 1, 1, 0, 1});
  expect_selected({.skip_uniform_groups = false, .best_of = 2}, {1, 0, 1, 1, 1, 1});
}

TEST(SelectedAnswers, AreNoneOfThoseThatWereLeftOut) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const at::Tensor scores = at::tensor({1.0F, nan, 3.0F, 2.0F, nan, nan}, at::kFloat);
  const at::Tensor kept = at::isnan(scores).logical_not();
  const auto selected = [&](const SelectionOptions& options) {
    return selected_answers(scores, kGroups, kept, options).to(at::kInt);
  };

  EXPECT_TRUE(at::equal(selected({}), at::tensor({1, 0, 1, 1, 0, 0}, at::kInt)));
  EXPECT_TRUE(at::equal(selected({.skip_uniform_groups = false, .best_of = 1}),
                        at::tensor({0, 0, 1, 1, 0, 0}, at::kInt)));
  EXPECT_TRUE(at::equal(selected({.skip_uniform_groups = true, .best_of = 0}),
                        at::tensor({1, 0, 1, 1, 0, 0}, at::kInt)))
      << "an answer that is left alone is not uniform";
}

}  // namespace
}  // namespace orrery::algorithm
