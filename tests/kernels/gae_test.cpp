// GAE against the recorded reference and against its definition as a double sum.
#include "orrery/kernels/gae.h"

#include <algorithm>
#include <memory>

#include "golden_file.h"
#include "kernel_references.h"

namespace orrery::kernels {
namespace {

template <class T>
struct Gae {
  std::vector<T> advantages, returns;
};

template <class T>
Gae<T> run(const std::vector<T>& rewards, const std::vector<T>& values,
           const std::vector<int32_t>& cu_seqlens, const std::vector<uint8_t>& bootstrap,
           double gamma, double lambda) {
  const auto flags = std::make_unique<bool[]>(bootstrap.size());
  std::copy(bootstrap.begin(), bootstrap.end(), flags.get());
  Gae<T> result{std::vector<T>(rewards.size()), std::vector<T>(rewards.size())};
  gae<T>({.rewards = rewards.data(),
          .values = values.data(),
          .cu_seqlens = cu_seqlens.data(),
          .bootstrap = flags.get(),
          .advantages = result.advantages.data(),
          .returns = result.returns.data(),
          .n_sequences = int64_t(bootstrap.size()),
          .gamma = gamma,
          .lambda = lambda});
  return result;
}

/// The file asks for rtol 1e-5, atol 1e-6, and 1e-4 in its long cases; what cancels is measured by
/// the largest number of the case.
void expect_close(std::span<const float> got, const nlohmann::json& expected,
                  const std::string& what) {
  const double relative = got.size() > 200 ? 1e-4 : 1e-5;
  double largest = 1;
  for (const float x : got)
    largest = std::isfinite(x) ? std::max<double>(largest, std::abs(x)) : largest;
  golden::expect_close(got, expected, what, {.relative = relative, .absolute = relative * largest});
}

constexpr golden::Tolerance kDouble = {.relative = 1e-12, .absolute = 1e-12};

TEST(GaeGolden, Packed) {
  golden::for_each_case("gae.json", "packed", [](const golden::Case& c) {
    const auto cu_seqlens = golden::int32s(c["cu_seqlens"]);
    const auto bootstrap = golden::bytes(c["bootstrap"]);
    const double gamma = c["gamma"], lambda = c["lam"];
    const auto result = run<float>(golden::floats(c["rewards"]), golden::floats(c["values"]),
                                   cu_seqlens, bootstrap, gamma, lambda);
    expect_close(result.advantages, c.expect().at("advantages"), "advantages");
    expect_close(result.returns, c.expect().at("returns"), "returns");
    if (!c.expect().has("advantages_f64")) return;
    const auto as_double = [&](const char* field) {
      const auto rounded = golden::floats(c[field]);
      return std::vector<double>(rounded.begin(), rounded.end());
    };
    const auto exact = run<double>(as_double("rewards"), as_double("values"), cu_seqlens, bootstrap,
                                   gamma, lambda);
    golden::expect_close(exact.advantages, c.expect().at("advantages_f64"), "advantages", kDouble);
    golden::expect_close(exact.returns, c.expect().at("returns_f64"), "returns", kDouble);
  });
}

TEST(GaeGolden, PaddedRowsArePackedRowsOfEqualLength) {
  golden::for_each_case("gae.json", "padded", [](const golden::Case& c) {
    const int32_t rows = c["bs"], horizon = c["horizon"];
    std::vector<int32_t> cu_seqlens;
    for (int32_t row = 0; row <= rows; ++row) cu_seqlens.push_back(row * horizon);
    std::vector<uint8_t> bootstrap;
    for (const float flag : golden::floats(c["seq_no_eos_mask"])) bootstrap.push_back(flag != 0);
    const auto result = run<float>(golden::floats(c["rewards"]), golden::floats(c["values"]),
                                   cu_seqlens, bootstrap, c["gamma"], c["lam"]);
    expect_close(result.advantages, c.expect().at("advantages"), "advantages");
    expect_close(result.returns, c.expect().at("returns"), "returns");
  });
}

TEST(GaeGolden, RowsThatHoldSeveralEpisodesDoNotOccurInPackedBatches) {
  const char* reason = "several episodes in one padded row: packed sequences hold one each";
  golden::leave_out_section("gae.json", "padded_overlap", reason);
  golden::leave_out_section("gae.json", "padded_no_overlap", reason);
}

template <class T>
void compare_with_double_sum(int64_t n) {
  const std::vector<int32_t> cu_seqlens{0, int32_t(n), int32_t(n), int32_t(2 * n)};
  const auto rewards = random_numbers<T>(2 * n, 1);
  const auto values = random_numbers<T>(2 * n + 3, 2);

  const auto result = run<T>(rewards, values, cu_seqlens, {0, 1, 1}, 0.9, 0.8);

  std::vector<double> advantages;
  for (size_t s : {0, 2}) {
    for (int64_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; ++t) {
      double sum = 0;
      for (int64_t k = t; k < cu_seqlens[s + 1]; ++k) {
        const bool ended = k + 1 == cu_seqlens[s + 1] && s == 0;
        const double next = ended ? 0.0 : double(values[size_t(k) + s + 1]);
        sum += std::pow(0.72, double(k - t)) *
               (double(rewards[size_t(k)]) + 0.9 * next - double(values[size_t(k) + s]));
      }
      advantages.push_back(sum);
    }
  }
  expect_near(result.advantages, advantages);
}

TEST(Gae, IsTheDiscountedSumOfTemporalDifferences) {
  for (const int64_t n : kSizes) {
    SCOPED_TRACE(n);
    compare_with_double_sum<float>(n);
    compare_with_double_sum<double>(n);
  }
}

}  // namespace
}  // namespace orrery::kernels
