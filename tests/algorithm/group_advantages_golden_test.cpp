// The statistics of groups against the vectors of objectives, and what the vectors do not say.
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/group_advantages.h"
#include "orrery/base/error.h"
#include "orrery/comm/thread_communicator.h"

namespace orrery::algorithm {
namespace {

std::string vectors() {
  return (golden::objectives_directory() / "advantages_group.json").string();
}

/// The vectors' name of an estimator -> ours. Those that are not here do not exist.
const std::map<std::string, GroupEstimator> kEstimators = {{"grpo", GroupEstimator::kStandardised},
                                                           {"dr_grpo", GroupEstimator::kMeanOnly},
                                                           {"rloo", GroupEstimator::kLeaveOneOut}};

std::string missing_estimator(const golden::Case& c) {
  const std::string name = c["options"].at("estimator").get<std::string>();
  return kEstimators.contains(name) ? "" : "there is no estimator " + name;
}

GroupOptions options_of(const golden::Case& c) {
  const nlohmann::json& given = c["options"];
  GroupOptions options;
  options.estimator = kEstimators.at(given.at("estimator").get<std::string>());
  if (given.contains("std_scope") && given.at("std_scope") == "batch") {
    options.scope = StdScope::kBatch;
  }
  const auto text = [&](const char* name) { return given.at(name).get<std::string>(); };
  const auto is_given = [&](const char* name) {
    return given.contains(name) && given.at(name).is_string() && given.at(name) != "none";
  };
  if (is_given("std")) options.variance = variance_named(text("std"));
  if (is_given("eps_mode")) options.eps_mode = eps_mode_named(text("eps_mode"));
  if (is_given("single_member")) options.single_answer = single_answer_named(text("single_member"));
  if (given.contains("eps") && !given.at("eps").is_null())
    options.eps = given.at("eps").get<double>();
  return options;
}

/// The weighted sum of what the reward functions gave.
at::Tensor rewards_of(const golden::Case& c) {
  const std::vector<double> weights = golden::doubles(c["reward_weights"]);
  if (weights.size() != c["rewards"].size()) golden::throw_problem("weights and rewards differ");
  at::Tensor sum;
  for (size_t i = 0; i < weights.size(); ++i) {
    const at::Tensor own =
        weights[i] * at::tensor(golden::doubles(c["rewards"].at(i)), at::kDouble);
    sum = sum.defined() ? sum + own : own;
  }
  return sum;
}

TEST(GroupAdvantagesGolden, AreThoseOfTheVectors) {
  const nlohmann::json& stated = golden::load(vectors()).at("tolerance");
  const golden::Tolerance tolerance{.relative = stated.at("relative"),
                                    .absolute = stated.at("absolute")};
  golden::for_each_case(
      vectors(), "per_sequence",
      [&](const golden::Case& c) {
        const std::vector<int32_t> sizes = golden::int32s(c["group_sizes"]);
        const at::Tensor kept =
            c.has("dropped") ? bool_tensor(c["dropped"]).logical_not() : at::Tensor();
        const at::Tensor got = group_advantages(rewards_of(c), sizes, kept, options_of(c));

        golden::expect_close(std::span(got.const_data_ptr<double>(), size_t(got.numel())),
                             c.expect().at("advantages"), "answer", tolerance);
      },
      {.leave_out_if = missing_estimator});
}

TEST(GroupAdvantagesGolden, NoEstimatorOfActionsExists) {
  golden::leave_out_section(vectors(), "per_action", "advantages of a group are per answer");
}

TEST(GroupAdvantages, AreDividedByTheDeviationOfAllRanks) {
  const at::Tensor rewards = at::tensor({0.5, 0.1, 2.0, 0.0, 1.0, 1.0, 0.3, 0.9}, at::kDouble);
  const GroupOptions options{.scope = StdScope::kBatch, .variance = Variance::kUnbiased};
  const at::Tensor whole = group_advantages(rewards, {2, 2, 2, 2}, {}, options);

  comm::run_as_threads(2, [&](comm::Communicator& ranks) {
    const int64_t begin = 4 * ranks.rank();
    const at::Tensor own =
        group_advantages(rewards.narrow(0, begin, 4), {2, 2}, {}, options, &ranks);
    EXPECT_TRUE(at::allclose(own, whole.narrow(0, begin, 4), 1e-12, 1e-12));
  });
}

TEST(GroupAdvantages, OfLargeEqualRewardsAreExactlyZero) {
  const at::Tensor rewards = at::full({6}, 1e8 + 0.1, at::kDouble);
  for (const GroupEstimator estimator :
       {GroupEstimator::kStandardised, GroupEstimator::kMeanOnly, GroupEstimator::kLeaveOneOut}) {
    const at::Tensor got =
        group_advantages(rewards, {3, 3}, {}, {.estimator = estimator, .eps = 0});
    EXPECT_TRUE(at::equal(got, at::zeros({6}, at::kDouble)));
  }
}

}  // namespace
}  // namespace orrery::algorithm
