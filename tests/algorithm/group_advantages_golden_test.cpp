// The statistics of groups against the vectors of objectives, and what the vectors do not say.
#include "algorithm/objectives_for_test.h"
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/action_advantages.h"
#include "orrery/algorithm/group_advantages.h"
#include "orrery/base/error.h"
#include "support/thread_communicator.h"

namespace orrery::algorithm {
namespace {

std::string vectors() {
  return (golden::objectives_directory() / "advantages_group.json").string();
}

/// Variance and epsilon of what is standardised.
GroupOptions deviation_of(const nlohmann::json& given) {
  GroupOptions options;
  options.variance = variance_named(word(given, "std"));
  options.eps = optional_number(given, "eps").value_or(NAN);
  options.eps_mode = eps_mode_named(word(given, "eps_mode"));
  return options;
}

GroupOptions options_of(const nlohmann::json& given) {
  const std::string name = word(given, "estimator");
  if (name == "gdpo") return deviation_of(given);
  GroupOptions options;
  if (name == "grpo") {
    options = deviation_of(given);
    options.scope = std_scope_named(word(given, "std_scope"));
  }
  options.estimator = group_estimator_named(name);
  if (name == "rloo") options.single_answer = single_answer_named(word(given, "single_member"));
  if (name == "pass_at_k") options.k = optional_integer(given, "k").value_or(0);
  return options;
}

std::vector<at::Tensor> rewards_of(const golden::Case& c) {
  std::vector<at::Tensor> rewards;
  for (const nlohmann::json& each : c["rewards"]) rewards.push_back(double_tensor(each));
  return rewards;
}

at::Tensor kept_of(const golden::Case& c) {
  return c.has("dropped") ? bool_tensor(c["dropped"]).logical_not() : at::Tensor();
}

at::Tensor advantages_of(const golden::Case& c) {
  const std::vector<at::Tensor> rewards = rewards_of(c);
  const std::vector<double> weights = golden::doubles(c["reward_weights"]);
  const std::vector<int32_t> sizes = golden::int32s(c["group_sizes"]);
  const GroupOptions options = options_of(c["options"]);
  if (word(c["options"], "estimator") == "gdpo") {
    return decoupled_group_advantages(rewards, weights, sizes, kept_of(c), options);
  }
  const std::vector<int32_t> lengths =
      c.has("lengths") ? golden::int32s(c["lengths"]) : std::vector<int32_t>();
  return group_advantages(weighted_rewards(rewards, weights), sizes, kept_of(c), options, nullptr,
                          lengths);
}

TEST(GroupAdvantagesGolden, AreThoseOfTheVectors) {
  const Tolerance tolerance = Tolerance::of(vectors());
  const golden::Count count = golden::for_each_case(vectors(), "per_sequence", [&](const auto& c) {
    const at::Tensor got =
        advantages_of(c);  // before anything is expected of a case that is refused
    tolerance.expect_all(got, c.expect().at("advantages"), "advantage");
  });
  EXPECT_EQ(count.left_out, 0);
}

ActionAdvantages action_advantages_of(const golden::Case& c) {
  const nlohmann::json& given = c["options"];
  const std::string name = word(given, "estimator");
  const nlohmann::json& whiten = given.at("whiten");
  ActionAdvantageOptions options{.takes_group_mean = takes_group_mean(name),
                                 .kl_coef = given.at("kl_coef").get<double>(),
                                 .discount = given.at("discount").get<double>(),
                                 .scope = whiten_scope_named(word(whiten, "scope")),
                                 .whiten = deviation_of(whiten)};
  if (options.kl_coef != 0) {
    options.kl_estimator = kl_estimator_named(word(given, "kl_estimator"));
  }
  return action_advantages(
      {.rewards = weighted_rewards(rewards_of(c), golden::doubles(c["reward_weights"])),
       .group_sizes = golden::int32s(c["group_sizes"]),
       .kept = kept_of(c),
       .lengths = golden::int32s(c["lengths"]),
       .mask = bool_tensor(c["mask"]),
       .log_probs = optional_doubles(c, "log_probs"),
       .ref_log_probs = optional_doubles(c, "ref_log_probs")},
      options);
}

TEST(ActionAdvantagesGolden, AreThoseOfTheVectors) {
  const Tolerance tolerance = Tolerance::of(vectors());
  const golden::Count count = golden::for_each_case(vectors(), "per_action", [&](const auto& c) {
    const ActionAdvantages got = action_advantages_of(c);
    tolerance.expect_all(got.returns, c.expect().at("returns"), "return");
    tolerance.expect_all(got.advantages, c.expect().at("advantages"), "advantage");
  });
  EXPECT_EQ(count.left_out, 0);
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
