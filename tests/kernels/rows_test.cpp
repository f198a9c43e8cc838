// Norm, rope, gate and log-probabilities against the obvious loops in double.
#include "kernel_references.h"

namespace orrery::kernels {
namespace {

TEST(RmsNorm, MatchesTheDefinitionAndItsDerivativeAtEveryWidth) {
  on_every_table([]<class T>(const KernelTable<T>& table) {
    for (const int64_t width : kSizes) {
      if (width == 0) continue;
      SCOPED_TRACE(width);
      const int64_t tokens = 3, groups = 2, stride = groups * width + 5;
      const auto x = random_numbers<T>(tokens * stride, 1);
      const auto w = random_numbers<T>(width, 2);
      const auto dy = random_numbers<T>(tokens * stride, 3);
      std::vector<T> y(x.size(), T(9)), rstd(static_cast<size_t>(tokens * groups));
      std::vector<T> dx(x.size(), T(1)), dw(static_cast<size_t>(width), T(2));

      table.rms_norm({.x = x.data(),
                      .weight = w.data(),
                      .y = y.data(),
                      .rstd = rstd.data(),
                      .n_tokens = tokens,
                      .n_groups = groups,
                      .width = width,
                      .x_stride = stride,
                      .y_stride = stride,
                      .eps = 0.1});
      table.rms_norm_backward({.x = x.data(),
                               .weight = w.data(),
                               .rstd = rstd.data(),
                               .dy = dy.data(),
                               .dx = dx.data(),
                               .dweight = dw.data(),
                               .n_tokens = tokens,
                               .n_groups = groups,
                               .width = width,
                               .x_stride = stride,
                               .dy_stride = stride,
                               .dx_stride = stride,
                               .dx_output = Output::kAdd});

      std::vector<double> y2(x.size(), 9), dx2(x.size(), 1), dw2(static_cast<size_t>(width), 2);
      for (int64_t row = 0; row < tokens * groups; ++row) {
        const size_t at = static_cast<size_t>(row / groups * stride + row % groups * width);
        const size_t n = static_cast<size_t>(width);
        double squares = 0, product = 0;
        for (size_t i = 0; i < n; ++i) squares += double(x[at + i]) * double(x[at + i]);
        const double r = 1 / std::sqrt(squares / double(width) + 0.1);
        for (size_t i = 0; i < n; ++i) {
          y2[at + i] = double(x[at + i]) * r * double(w[i]);
          product += double(dy[at + i]) * double(w[i]) * double(x[at + i]);
        }
        for (size_t i = 0; i < n; ++i) {
          dx2[at + i] += r * (double(dy[at + i]) * double(w[i]) -
                              double(x[at + i]) * r * r * product / double(width));
          dw2[i] += double(dy[at + i]) * double(x[at + i]) * r;
        }
      }
      expect_near(y, y2);
      expect_near(dx, dx2);
      expect_near(dw, dw2);
    }
  });
}

TEST(Rope, RotatesPairsOfHalvesAndItsBackwardIsTheInverse) {
  on_every_table([]<class T>(const KernelTable<T>& table) {
    for (const int64_t half : kSizes) {
      if (half == 0) continue;
      SCOPED_TRACE(half);
      const int64_t dim = 2 * half, heads = 2, stride = heads * dim + 3;
      const std::vector<int32_t> positions{0, 5, 2};
      std::vector<T> cosines(static_cast<size_t>(6 * half)), sines(cosines.size());
      fill_rope_table<T>(cosines.data(), sines.data(), 6, dim, 100.0);
      const auto original = random_numbers<T>(3 * stride, 4);
      std::vector<T> x = original;
      RopeArgs<T> args{.x = x.data(),
                       .positions = positions.data(),
                       .cosines = cosines.data(),
                       .sines = sines.data(),
                       .n_tokens = 3,
                       .n_heads = heads,
                       .head_dim = dim,
                       .x_stride = stride};

      table.rope(args);

      std::vector<double> expected(original.begin(), original.end());
      for (size_t t = 0; t < 3; ++t) {
        for (int64_t h = 0; h < heads; ++h) {
          for (int64_t d = 0; d < half; ++d) {
            const size_t a = t * size_t(stride) + size_t(h * dim + d), b = a + size_t(half);
            const double angle = positions[t] * std::pow(100.0, -2.0 * double(d) / double(dim));
            expected[a] = original[a] * std::cos(angle) - original[b] * std::sin(angle);
            expected[b] = original[b] * std::cos(angle) + original[a] * std::sin(angle);
          }
        }
      }
      expect_near(x, expected);
      args.rotation = Rotation::kBackward;
      table.rope(args);
      expect_near(x, {original.begin(), original.end()});
    }
  });
}

TEST(SiluMul, MatchesTheDefinitionAndItsDerivativeAtEveryWidth) {
  on_every_table([]<class T>(const KernelTable<T>& table) {
    for (const int64_t width : kSizes) {
      SCOPED_TRACE(width);
      auto gate_up = random_numbers<T>(2 * 2 * width, 5);
      for (T& v : gate_up) v *= T(6);
      auto dout = random_numbers<T>(2 * width, 6);
      const auto original_dout = dout;
      std::vector<T> out(dout.size());

      table.silu_mul({.gate_up = gate_up.data(), .out = out.data(), .n_tokens = 2, .width = width});
      std::vector<double> out2, d2(gate_up.size());
      for (size_t t = 0; t < 2; ++t) {
        for (size_t i = 0; i < size_t(width); ++i) {
          const size_t g = t * 2 * size_t(width) + i, u = g + size_t(width);
          const double x = gate_up[g], s = 1 / (1 + std::exp(-x)), up = gate_up[u];
          const double d = original_dout[t * size_t(width) + i];
          out2.push_back(x * s * up);
          d2[g] = d * up * (s + x * s * (1 - s));
          d2[u] = d * x * s;
        }
      }
      expect_near(out, out2);

      // In place, as the decoder does it.
      table.silu_mul_backward({.gate_up = gate_up.data(),
                               .dout = dout.data(),
                               .dgate_up = gate_up.data(),
                               .out = dout.data(),
                               .n_tokens = 2,
                               .width = width});
      expect_near(gate_up, d2);
      expect_near(dout, out2);
    }
  });
}

TEST(ExpRow, IsAccurateOverTheWholeRangeAndVanishesFarBelow) {
  on_every_table([]<class T>(const KernelTable<T>& table) {
    std::vector<T> x;
    const double low = sizeof(T) == 4 ? -86.9 : -707.0, high = sizeof(T) == 4 ? 87.9 : 708.0;
    for (int i = 0; i <= 10007; ++i) x.push_back(static_cast<T>(low + (high - low) * i / 10007));
    x.push_back(-std::numeric_limits<T>::infinity());
    x.push_back(std::numeric_limits<T>::lowest());
    std::vector<T> y(x.size());

    const double total =
        table.exp_row(x.data(), static_cast<int64_t>(x.size()), T(1), T(0), y.data());

    double sum = 0;
    for (const T e : y) sum += static_cast<double>(e);
    if (sizeof(T) == 4) {  // in double it is beyond the largest number
      EXPECT_NEAR(total / sum, 1, 1e-12);
    }
    const double ulp = std::numeric_limits<T>::epsilon();
    for (size_t i = 0; i + 2 < x.size(); ++i) {
      const double expected = std::exp(static_cast<double>(x[i]));
      // 3 units: rounding in the reduction and in the sum of the series.
      ASSERT_NEAR(static_cast<double>(y[i]) / expected, 1, 3 * ulp) << x[i];
    }
    EXPECT_EQ(y[x.size() - 2], T(0));
    EXPECT_EQ(y[x.size() - 1], T(0));
  });
}

TEST(RowMax, FindsTheLargestWhereverItIs) {
  on_every_table([]<class T>(const KernelTable<T>& table) {
    for (const int64_t n : {1, 7, 8, 15, 16, 17, 33, 100}) {
      for (int64_t at = 0; at < n; ++at) {
        std::vector<T> x(static_cast<size_t>(n), T(-3));
        x[static_cast<size_t>(at)] = T(-2);
        EXPECT_EQ(table.row_max(x.data(), n), T(-2)) << at << " of " << n;
      }
    }
  });
}

TEST(TokenLogProbs, MatchSoftmaxEntropyAndTheirGradients) {
  on_every_table([]<class T>(const KernelTable<T>& table) {
    for (const int64_t vocab : kSizes) {
      if (vocab == 0) continue;
      SCOPED_TRACE(vocab);
      const int64_t rows = 3;
      const size_t n = static_cast<size_t>(vocab);
      const double scale = 1 / 0.7;
      auto logits = random_numbers<T>(rows * vocab, 8);
      for (T& v : logits) v *= T(5);
      const auto original = logits;
      const std::vector<int64_t> targets{0, vocab - 1, vocab / 2};
      const auto g = random_numbers<T>(rows, 9), h = random_numbers<T>(rows, 10);
      std::vector<T> log_probs(3), lse(3), entropy(3);

      table.token_log_probs({.logits = logits.data(),
                             .targets = targets.data(),
                             .log_probs = log_probs.data(),
                             .logsumexp = lse.data(),
                             .entropy = entropy.data(),
                             .n_rows = rows,
                             .vocab_size = vocab,
                             .inverse_temperature = scale});
      table.token_log_probs_backward({.logits = logits.data(),
                                      .targets = targets.data(),
                                      .logsumexp = lse.data(),
                                      .entropy = entropy.data(),
                                      .dlog_probs = g.data(),
                                      .dentropy = h.data(),
                                      .n_rows = rows,
                                      .vocab_size = vocab,
                                      .inverse_temperature = scale});

      std::vector<double> log_probs2, entropy2, dlogits2;
      for (size_t r = 0; r < 3; ++r) {
        std::vector<double> p(n);
        double total = 0;
        for (size_t i = 0; i < n; ++i) total += p[i] = std::exp(original[r * n + i] * scale);
        double sum = 0;
        for (double& value : p) {
          value /= total;
          sum -= value * std::log(value);
        }
        entropy2.push_back(sum);
        log_probs2.push_back(std::log(p[size_t(targets[r])]));
        for (size_t i = 0; i < n; ++i) {
          const double onehot = int64_t(i) == targets[r] ? 1 : 0;
          dlogits2.push_back(scale *
                             (g[r] * (onehot - p[i]) - h[r] * p[i] * (std::log(p[i]) + sum)));
        }
      }
      expect_near(log_probs, log_probs2);
      expect_near(entropy, entropy2);
      expect_near(logits, dlogits2);
    }
  });
}

}  // namespace
}  // namespace orrery::kernels
