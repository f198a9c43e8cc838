// What is remembered from step to step, against the recorded reference: the KL weight and the
// moments of the returns.
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/kl_controller.h"
#include "orrery/algorithm/value_norm.h"
#include "orrery/comm/thread_communicator.h"

namespace orrery::algorithm {
namespace {

TEST(KlControllerGolden, MovesTowardsTheTargetAsTheReferenceDoes) {
  golden::for_each_case("kl_controller.json", "cases", [](const golden::Case& c) {
    const auto initial = c["init"].get<double>();
    KlController controller =
        c["type"] == "fixed"
            ? KlController::fixed(initial)
            : KlController::adaptive(initial, {.target = c["target"].get<double>(),
                                               .horizon = c["horizon"].get<double>()});
    for (const auto& step : c["steps"]) {
      controller.update(step["current"].get<double>(), step["n_steps"].get<int64_t>());

      const auto expected = step["value_after"].get<double>();  // kept in fp32 there
      EXPECT_NEAR(controller.value(), expected, 2e-6 * std::abs(expected));
    }
  });
}

ValueNorm norm_of(const golden::Case& c) {
  ValueNormOptions options{.kind = value_norm_kind_named(c["type"].get<std::string>())};
  if (c.has("beta")) options.beta = golden::to_double(c["beta"]);
  if (c.has("epsilon")) options.epsilon = golden::to_double(c["epsilon"]);
  return ValueNorm(options);
}

/// State and what it makes of the probe. A reference in fp32 holds its moments less exactly.
void expect_state(const ValueNorm& norm, const nlohmann::json& expected, const at::Tensor& probe,
                  bool high_precision) {
  const double tolerance = high_precision ? 1e-9 : 1e-2;
  const double scale = high_precision ? 2 : 2000;
  EXPECT_NEAR(norm.mean(), expected["mean"].get<double>(), tolerance);
  EXPECT_NEAR(norm.std(), expected["std"].get<double>(), tolerance);
  expect_near(norm.normalize(probe), expected["normalized"], "normalized", scale);
  expect_near(norm.denormalize(probe), expected["denormalized"], "denormalized", scale);
}

TEST(ValueNormGolden, RemembersMomentsAsTheReferenceDoes) {
  golden::for_each_case("value_norm.json", "cases", [](const golden::Case& c) {
    const bool high_precision = c["high_precision"].get<bool>();
    const at::Tensor probe = float_tensor(c["probe"]);
    ValueNorm norm = norm_of(c);
    expect_state(norm, c["initial"], probe, high_precision);
    for (const auto& update : c["updates"]) {
      const at::Tensor mask = update["mask"].is_null() ? at::Tensor() : bool_tensor(update["mask"]);

      norm.update(float_tensor(update["x"]), mask);

      expect_state(norm, update["expect"], probe, high_precision);
    }
  });
}

TEST(ValueNormGolden, CountsTheElementsOfAllRanks) {
  golden::for_each_case("value_norm.json", "data_parallel", [](const golden::Case& c) {
    comm::run_as_threads(c["n_ranks"].get<int>(), [&](comm::Communicator& group) {
      const auto rank = static_cast<size_t>(group.rank());
      ValueNorm norm = norm_of(c);
      for (const auto& update : c["updates"]) {
        norm.update(float_tensor(update["x"][rank]), bool_tensor(update["mask"][rank]), &group);

        EXPECT_NEAR(norm.mean(), update["expect"]["mean"].get<double>(), 1e-9);
        EXPECT_NEAR(norm.std(), update["expect"]["std"].get<double>(), 1e-9);
      }
    });
  });
}

TEST(ValueNorm, AMaskWithoutAnElementChangesNothing) {
  ValueNorm norm({});
  norm.update(at::ones({3}), {});
  const double mean = norm.mean();

  norm.update(at::full({2}, 100.0), at::zeros({2}, at::kBool));

  EXPECT_EQ(norm.mean(), mean);
}

}  // namespace
}  // namespace orrery::algorithm
