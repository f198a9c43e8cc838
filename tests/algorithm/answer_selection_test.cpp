#include "orrery/algorithm/answer_selection.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace orrery::algorithm {
namespace {

const at::Tensor kScores = at::tensor({1.0, 0.0, 3.0, 2.0, 2.0, 7.0}, at::kFloat);
const std::vector<int32_t> kGroups = {3, 2, 1};

void expect_selected(const SelectionOptions& options, const std::vector<int>& expected) {
  EXPECT_TRUE(at::equal(selected_answers(kScores, kGroups, options),
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

TEST(LeaveOneOut, SubtractsTheMeanOfTheOthers) {
  EXPECT_TRUE(at::allclose(leave_one_out(kScores, kGroups),
                           at::tensor({-0.5, -2.0, 2.5, 0.0, 0.0, 7.0}, at::kFloat)));
}

}  // namespace
}  // namespace orrery::algorithm
