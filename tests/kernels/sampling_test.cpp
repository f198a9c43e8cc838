// Filters against a full sort, draws against their distribution.
#include "orrery/kernels/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernel_references.h"

namespace orrery::kernels {
namespace {

std::vector<std::byte> scratch_for(int64_t vocab) {
  return std::vector<std::byte>(size_t(sampling_scratch_bytes(vocab)));
}

/// Both rules by a full ascending sort; ties in the order of the tokens, the later removed first.
template <class T>
std::vector<bool> removed_by_sorting(const std::vector<T>& logits, const LogitFilter& filter) {
  const size_t n = logits.size();
  std::vector<bool> removed(n, false);
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return logits[a] != logits[b] ? logits[a] < logits[b] : a > b;
  });
  if (filter.top_k < int64_t(n)) {
    const T threshold = logits[order[n - size_t(filter.top_k)]];
    for (size_t i = 0; i < n; ++i) removed[i] = logits[i] < threshold;
  }
  if (filter.top_p >= 1) return removed;
  const std::vector<bool> by_top_k = removed;
  const auto counts = [&](size_t i) { return filter.order == FilterOrder::kUnion || !by_top_k[i]; };
  double total = 0, cumulative = 0;
  for (size_t i = 0; i < n; ++i) total += counts(i) ? std::exp(double(logits[i])) : 0;
  for (size_t place = 0; place + 1 < n; ++place) {
    cumulative += counts(order[place]) ? std::exp(double(logits[order[place]])) / total : 0;
    if (cumulative <= 1 - filter.top_p) removed[order[place]] = true;
  }
  return removed;
}

template <class T>
void compare_filters() {
  for (const int64_t vocab : kSizes) {
    if (vocab == 0) continue;
    for (const int64_t top_k : {int64_t{1}, int64_t{5}, int64_t{1000}}) {
      for (const double top_p : {0.01, 0.5, 0.93, 1.0}) {
        for (const FilterOrder order : {FilterOrder::kUnion, FilterOrder::kTopKFirst}) {
          SCOPED_TRACE(testing::Message() << vocab << " tokens, k " << top_k << ", p " << top_p);
          auto logits = random_numbers<T>(vocab, uint64_t(vocab));
          for (T& v : logits) v *= T(4);
          const LogitFilter filter{.top_k = top_k, .top_p = top_p, .order = order};
          const auto expected = removed_by_sorting(logits, filter);
          auto scratch = scratch_for(vocab);

          filter_logits<T>(logits, filter, scratch.data());

          for (size_t i = 0; i < logits.size(); ++i) {
            ASSERT_EQ(logits[i] == removed_logit<T>(), expected[i]) << "token " << i;
          }
        }
      }
    }
  }
}

TEST(LogitFilter, RemovesWhatAFullSortRemoves) {
  compare_filters<float>();
  compare_filters<double>();
}

TEST(LogitFilter, KeepsAllTiesOfTheKthLargest) {
  std::vector<float> logits{1, 3, 2, 2, 0};
  auto scratch = scratch_for(5);

  filter_logits<float>(logits, {.top_k = 2}, scratch.data());

  const float gone = removed_logit<float>();
  EXPECT_EQ(logits, (std::vector<float>{gone, 3, 2, 2, gone}));
}

TEST(LogitFilter, NamesAnImpossibleValue) {
  EXPECT_EQ(filter_problem({.top_k = 0}), "top_k is 0, expected at least 1");
  EXPECT_EQ(filter_problem({.top_p = 0}), "top_p is 0, expected more than 0 and at most 1");
  EXPECT_EQ(filter_problem({.top_k = 3, .top_p = 0.5}), "");
}

TEST(DrawSample, InvertsTheCumulativeProbabilities) {
  const std::vector<double> logits{std::log(0.2), std::log(0.5), std::log(0.3)};
  auto scratch = scratch_for(3);
  const auto token = [&](double u) { return draw_sample<double>(logits, u, scratch.data()).token; };

  EXPECT_EQ(token(0.0), 0);
  EXPECT_EQ(token(0.199), 0);
  EXPECT_EQ(token(0.201), 1);
  EXPECT_EQ(token(0.699), 1);
  EXPECT_EQ(token(0.701), 2);
  EXPECT_EQ(token(1.0), 2) << "a sum that rounding leaves short ends at the last token";
  EXPECT_NEAR(draw_sample<double>(logits, 0.5, scratch.data()).log_prob, std::log(0.5), 1e-15);
}

TEST(DrawSample, NeverDrawsARemovedToken) {
  const float gone = removed_logit<float>();
  const std::vector<float> logits{gone, 1, gone, 2, gone};
  auto scratch = scratch_for(5);

  for (int i = 0; i <= 1000; ++i) {
    const int64_t token = draw_sample<float>(logits, i / 1000.0, scratch.data()).token;
    ASSERT_TRUE(token == 1 || token == 3);
  }
}

TEST(DrawSample, FollowsTheDistribution) {
  const auto logits = random_numbers<float>(31, 11);
  auto scratch = scratch_for(31);
  const int n = 40000;
  std::vector<double> counts(31, 0);

  for (int i = 0; i < n; ++i) {
    const double u = base::philox_uniform(1, 2, uint64_t(i));
    counts[size_t(draw_sample<float>(logits, u, scratch.data()).token)] += 1;
  }

  double chi_squared = 0;
  for (int64_t t = 0; t < 31; ++t) {
    const double expected = n * std::exp(log_prob_of<float>(logits, t, scratch.data()));
    chi_squared += (counts[size_t(t)] - expected) * (counts[size_t(t)] - expected) / expected;
  }
  EXPECT_LT(chi_squared, 59.7)
      << "30 degrees of freedom: once in a thousand, and the draw is fixed";
}

TEST(BestToken, IsTheFirstOfTheBest) {
  EXPECT_EQ(best_token<float>(std::vector<float>{1, 5, 5, 2}), 1);
}

TEST(SamplingRule, BarsStopIdsUntilTheMinimumIsReached) {
  const std::vector<int64_t> stop_ids{1};
  const SamplingRule rule{.greedy = true, .min_new_tokens = 2, .stop_ids = stop_ids};
  auto scratch = scratch_for(3);
  const auto greedy_at = [&](int64_t n_generated) {
    std::vector<float> logits{0, 9, 3};
    return sample_token<float>(logits, rule, n_generated, 0, scratch.data()).token;
  };

  EXPECT_EQ(greedy_at(0), 2);
  EXPECT_EQ(greedy_at(1), 2);
  EXPECT_EQ(greedy_at(2), 1);
}

/// Rules that mask or filter in every way, alone and together.
std::vector<SamplingRule> rules(std::span<const int64_t> stop_ids,
                                std::span<const int64_t> never_ids) {
  std::vector<SamplingRule> all;
  for (const bool greedy : {false, true}) {
    for (const double temperature : {1.0, 0.6, 1.7}) {
      for (const LogitFilter& filter :
           {LogitFilter{}, {.top_k = 3}, {.top_p = 0.6}, {.top_k = 9, .top_p = 0.8}}) {
        for (const int64_t min_new_tokens : {0, 2}) {
          for (const size_t n_never : {size_t{0}, never_ids.size()}) {
            all.push_back({.greedy = greedy,
                           .temperature = temperature,
                           .filter = filter,
                           .min_new_tokens = min_new_tokens,
                           .stop_ids = stop_ids,
                           .never_ids = never_ids.first(n_never)});
          }
        }
      }
    }
  }
  return all;
}

/// log softmax(logits / temperature)[token] by its definition.
double policy_log_prob(const std::vector<double>& logits, double temperature, int64_t token) {
  double total = 0;
  for (const double logit : logits) total += std::exp(logit / temperature);
  return logits[size_t(token)] / temperature - std::log(total);
}

TEST(SampleToken, RecordsThePolicyAndTheDistributionDrawnFrom) {
  const std::vector<int64_t> stop_ids{2, 5}, never_ids{0, 30, 36};
  std::vector<double> logits = random_numbers<double>(37, 3);
  for (double& logit : logits) logit *= 3;
  logits[5] = logits[36] = 9;  // what may be masked is the likeliest
  auto scratch = scratch_for(37);
  for (const SamplingRule& rule : rules(stop_ids, never_ids)) {
    for (const int64_t n_generated : {0, 1, 2}) {
      SCOPED_TRACE(testing::Message()
                   << "greedy " << rule.greedy << " temperature " << rule.temperature << " top_k "
                   << rule.filter.top_k << " top_p " << rule.filter.top_p << " min "
                   << rule.min_new_tokens << " never " << rule.never_ids.size());
      std::vector<double> allowed = logits;
      apply_sampling_rule<double>(allowed, rule, n_generated, scratch.data());
      for (const double uniform : {0.0, 0.3, 0.9}) {
        std::vector<double> row = logits;

        const SampledToken drawn =
            sample_token<double>(row, rule, n_generated, uniform, scratch.data());

        EXPECT_NEAR(drawn.log_prob, policy_log_prob(logits, rule.temperature, drawn.token), 1e-12);
        EXPECT_NEAR(drawn.sampling_log_prob,
                    rule.greedy ? 0 : log_prob_of<double>(allowed, drawn.token, scratch.data()),
                    1e-12);
        EXPECT_GE(drawn.sampling_log_prob, drawn.log_prob - 1e-12) << "a filter takes from others";
        EXPECT_EQ(std::ranges::count(rule.never_ids, drawn.token), 0);
        const bool is_stop = std::ranges::count(stop_ids, drawn.token) > 0;
        EXPECT_FALSE(is_stop && n_generated < rule.min_new_tokens);
        const bool is_plain = !rule.greedy && rule.never_ids.empty() && rule.filter.top_p == 1 &&
                              rule.filter.top_k > 37 && n_generated >= rule.min_new_tokens;
        if (is_plain) {
          EXPECT_EQ(drawn.sampling_log_prob, drawn.log_prob);
        }
      }
    }
  }
}

template <class T>
void expect_finite_at_extremes() {
  const std::vector<int64_t> never_ids{3};
  auto scratch = scratch_for(100);
  for (const bool greedy : {false, true}) {
    for (const double temperature : {1e-6, 1e6}) {
      for (const double top_p : {1.0, 1e-9}) {
        for (const size_t n_never : {size_t{0}, size_t{1}}) {
          auto logits = random_numbers<T>(100, 8);
          for (T& logit : logits) logit *= T(40);
          const SamplingRule rule{.greedy = greedy,
                                  .temperature = temperature,
                                  .filter = {.top_p = top_p},
                                  .never_ids = std::span(never_ids).first(n_never)};

          const SampledToken drawn = sample_token<T>(logits, rule, 0, 0.5, scratch.data());

          EXPECT_TRUE(std::isfinite(drawn.log_prob) && drawn.log_prob <= 0) << drawn.log_prob;
          EXPECT_TRUE(std::isfinite(drawn.sampling_log_prob)) << drawn.sampling_log_prob;
          EXPECT_LE(drawn.sampling_log_prob, 0);
        }
      }
    }
  }
}

TEST(SampleToken, IsFiniteAtTheLowestAndTheHighestTemperature) {
  expect_finite_at_extremes<float>();
  expect_finite_at_extremes<double>();
}

TEST(DrawSample, PassesWholeBlocksToTheFirstTokenBeyondTheTarget) {
  for (const size_t vocab : {1, 63, 64, 65, 128, 1000}) {
    std::vector<double> logits(vocab);
    for (size_t i = 0; i < vocab; ++i) {
      logits[i] = i % 3 == 1 ? removed_logit<double>() : std::log(1.0 + double(i * 7 % 11));
    }
    double total = 0;
    for (const double logit : logits) total += std::exp(logit);
    std::vector<double> scratch(size_t(sampling_scratch_bytes(int64_t(vocab))) / 8 + 1);
    for (int draw = 0; draw < 200; ++draw) {
      const double uniform = (draw + 0.5) / 200;
      double cumulative = 0;
      size_t expected = 0;
      while (expected + 1 < vocab) {
        cumulative += std::exp(logits[expected]);
        if (cumulative > uniform * total) break;
        ++expected;
      }
      while (logits[expected] == removed_logit<double>()) --expected;

      const Draw drawn = draw_sample<double>(logits, uniform, scratch.data());

      EXPECT_EQ(drawn.token, int64_t(expected)) << vocab << ", " << uniform;
    }
  }
}

}  // namespace
}  // namespace orrery::kernels
