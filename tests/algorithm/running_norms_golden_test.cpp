// What is remembered from step to step, against the recorded reference: the KL weight and the
// moments of the returns.
#include "algorithm/tensors_for_test.h"
#include "orrery/algorithm/kl_controller.h"
#include "orrery/algorithm/value_norm.h"
#include "support/thread_communicator.h"

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
      controller.update(golden::to_double(step.at("current")), step.at("n_steps").get<int64_t>());

      // Kept in fp32 there.
      golden::expect_close(controller.value(), step.at("value_after"), "value",
                           {.relative = 1e-5, .absolute = 1e-12});
    }
  });
}

/// Of an update; missing or null: everything counts.
at::Tensor mask_of(const nlohmann::json& update, const char* field) {
  const auto found = update.find(field);
  return found == update.end() || found->is_null() ? at::Tensor() : bool_tensor(*found);
}

ValueNorm norm_of(const golden::Case& c) {
  ValueNormOptions options{.kind = value_norm_kind_named(c["type"].get<std::string>())};
  if (c.has("beta")) options.beta = golden::to_double(c["beta"]);
  if (c.has("epsilon")) options.epsilon = golden::to_double(c["epsilon"]);
  return ValueNorm(options);
}

void expect_moments(const ValueNorm& norm, const nlohmann::json& expected, double tolerance) {
  const golden::Tolerance near{.relative = tolerance, .absolute = tolerance};
  golden::expect_close(norm.mean(), expected.at("mean"), "mean", near);
  golden::expect_close(norm.std(), expected.at("std"), "std", near);
}

/// State and what it makes of the probe. A reference in fp32 holds its moments less exactly.
void expect_state(const ValueNorm& norm, const nlohmann::json& expected, const at::Tensor& probe,
                  bool high_precision) {
  const double scale = high_precision ? 2 : 2000;
  expect_moments(norm, expected, high_precision ? 1e-9 : 1e-2);
  expect_near(norm.normalize(probe), expected.at("normalized"), "normalized", scale);
  expect_near(norm.denormalize(probe), expected.at("denormalized"), "denormalized", scale);
}

TEST(ValueNormGolden, RemembersMomentsAsTheReferenceDoes) {
  golden::for_each_case("value_norm.json", "cases", [](const golden::Case& c) {
    const bool high_precision = c.value("high_precision", true);
    const at::Tensor probe = float_tensor(c["probe"]);
    ValueNorm norm = norm_of(c);
    expect_state(norm, c["initial"], probe, high_precision);
    for (const auto& update : c["updates"]) {
      const at::Tensor mask = mask_of(update, "mask");

      norm.update(float_tensor(update.at("x")), mask);

      expect_state(norm, update.at("expect"), probe, high_precision);
    }
  });
}

TEST(ValueNormGolden, CountsTheElementsOfAllRanks) {
  golden::for_each_case("value_norm.json", "data_parallel", [](const golden::Case& c) {
    comm::run_as_threads(c["n_ranks"].get<int>(), [&](comm::Communicator& group) {
      const auto rank = static_cast<size_t>(group.rank());
      ValueNorm norm = norm_of(c);
      for (const auto& update : c["updates"]) {
        const bool has_mask = update.contains("mask") && !update.at("mask").is_null();
        norm.update(float_tensor(update.at("x").at(rank)),
                    has_mask ? bool_tensor(update.at("mask").at(rank)) : at::Tensor(), &group);

        expect_moments(norm, update.at("expect"), 1e-9);
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
