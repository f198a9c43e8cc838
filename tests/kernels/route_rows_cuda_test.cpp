// The GPU's choice of experts, and its gradient, against loops in double.
#include <algorithm>

#include "blocks/route_rows.h"
#include "gpu_for_test.h"

namespace orrery::kernels {
namespace {

struct Case {
  int64_t n_rows, n_experts, per_token;
  bool normalise;
};

/// Logits of a few values, so that many are equal.
template <class T>
std::vector<T> tied_logits(int64_t n) {
  std::vector<T> logits = random_numbers<T>(n, 1);
  for (T& x : logits) x = std::round(2 * x);
  return logits;
}

template <class T>
void compare_case(Place place, const Case& of, std::vector<T> logits) {
  const size_t n_experts = size_t(of.n_experts), per_token = size_t(of.per_token);
  const std::vector<double> before = as_doubles(logits);
  std::vector<int64_t> index(size_t(of.n_rows) * per_token, -7);
  std::vector<T> weight(index.size()), dweight = random_numbers<T>(int64_t(index.size()), 2);
  std::vector<T> dlogits = random_numbers<T>(int64_t(logits.size()), 3);
  std::vector<double> expected_dlogits = as_doubles(dlogits);

  const RouteRowsArgs<T> forward{.logits = place.of(logits),
                                 .index = place.of(index),
                                 .weight = place.of(weight),
                                 .n_rows = of.n_rows,
                                 .n_experts = of.n_experts,
                                 .per_token = of.per_token,
                                 .normalise = of.normalise};
  place.run([&] { route_rows_cuda(forward, nullptr); },
            [&](const auto& runner) { runner.template run<blocks::RouteRowsProgram<T>>(forward); });
  const RouteRowsBackwardArgs<T> backward{.probabilities = place.of(logits),
                                          .index = place.of(index),
                                          .weight = place.of(weight),
                                          .dweight = place.of(dweight),
                                          .dlogits = place.of(dlogits),
                                          .n_rows = of.n_rows,
                                          .n_experts = of.n_experts,
                                          .per_token = of.per_token,
                                          .normalise = of.normalise};
  place.run([&] { route_rows_backward_cuda(backward, nullptr); },
            [&](const auto& runner) {
              runner.template run<blocks::RouteRowsBackwardProgram<T>>(backward);
            });

  std::vector<double> p(before.size()), weights(weight.size());
  std::vector<int64_t> chosen;
  for (size_t row = 0; row < size_t(of.n_rows); ++row) {
    double* const ps = p.data() + row * n_experts;
    double sum = 0;
    for (size_t e = 0; e < n_experts; ++e) sum += ps[e] = std::exp(before[row * n_experts + e]);
    for (size_t e = 0; e < n_experts; ++e) ps[e] /= sum;
    std::vector<int64_t> experts(n_experts);
    for (size_t e = 0; e < n_experts; ++e) experts[e] = int64_t(e);
    std::stable_sort(experts.begin(), experts.end(), [&](int64_t a, int64_t b) {
      return before[row * n_experts + size_t(a)] > before[row * n_experts + size_t(b)];
    });
    chosen.insert(chosen.end(), experts.begin(), experts.begin() + of.per_token);

    double of_chosen = 0, product = 0;
    for (size_t k = 0; k < per_token; ++k) of_chosen += ps[experts[k]];
    for (size_t k = 0; k < per_token; ++k) {
      weights[row * per_token + k] = ps[experts[k]] / (of.normalise ? of_chosen : 1);
      product += double(dweight[row * per_token + k]) * weights[row * per_token + k];
    }
    double* const dp = expected_dlogits.data() + row * n_experts;
    double mean = 0;
    for (size_t k = 0; k < per_token; ++k) {
      const double d = double(dweight[row * per_token + k]);
      dp[experts[k]] += of.normalise ? (d - product) / of_chosen : d;
    }
    for (size_t e = 0; e < n_experts; ++e) mean += ps[e] * dp[e];
    for (size_t e = 0; e < n_experts; ++e) dp[e] = ps[e] * (dp[e] - mean);
  }
  EXPECT_EQ(index, chosen);
  expect_near(logits, p);
  expect_near(weight, weights);
  expect_near(dlogits, expected_dlogits);
}

template <class T>
void compare_type(const Place& place) {
  for (const bool normalise : {false, true}) {
    for (const auto& [experts, per_token] : {std::pair(1, 1), {8, 2}, {60, 4}, {300, 8}}) {
      SCOPED_TRACE(experts);
      for (const int64_t rows : {0, 1, 9}) {
        const Case of{rows, experts, per_token, normalise};
        compare_case<T>(place, of, random_numbers<T>(rows * experts, 4));
        compare_case<T>(place, of, tied_logits<T>(rows * experts));
      }
    }
  }
}

void compare(const Place& place) {
  compare_type<float>(place);
  compare_type<double>(place);
}

ORRERY_COMPARE_KERNEL(RouteRows, compare)

TEST(RouteRowsBlocks, ChooseTheFirstExpertsWhereNoneIsANumber) {
  for (const blocks::ThreadOrder order : kThreadOrders) {
    std::vector<float> logits(300, std::nanf("")), weight(2);
    std::vector<int64_t> index(2);
    blocks::simulate<blocks::RouteRowsProgram<float>>({.logits = logits.data(),
                                                       .index = index.data(),
                                                       .weight = weight.data(),
                                                       .n_rows = 1,
                                                       .n_experts = 300,
                                                       .per_token = 2},
                                                      order);
    EXPECT_EQ(index, (std::vector<int64_t>{0, 1}));
  }
}

}  // namespace
}  // namespace orrery::kernels
