// AdamW's loop: the same bits whatever the size, and on a GPU.
#include "orrery/kernels/adamw.h"

#include "blocks/adamw.h"
#include "gpu_for_test.h"

namespace orrery::kernels {
namespace {

template <class T>
constexpr AdamWCoefficients<T> kCoefficients{.gradient_scale = T(0.5),
                                             .beta1 = T(0.9),
                                             .beta2 = T(0.95),
                                             .lr = T(0.1),
                                             .decay = T(0.2),
                                             .correction1 = T(0.4),
                                             .root_correction2 = T(0.3),
                                             .eps = T(1e-8)};

template <class T>
struct Numbers {
  std::vector<T> p, g, m, v;

  explicit Numbers(int64_t n)
      : p(random_numbers<T>(n, 1)),
        g(random_numbers<T>(n, 2)),
        m(random_numbers<T>(n, 3)),
        v(random_numbers<T>(n, 4)) {
    for (T& x : v) x = std::abs(x);
  }
  bool operator==(const Numbers&) const = default;
};

template <class T>
void compare_sizes_with_one_by_one() {
  for (const int64_t n : {0, 1, 7, 8, 9, 31, 1009}) {
    Numbers<T> together(n), one_by_one(n);
    adamw_update(together.p.data(), together.g.data(), together.m.data(), together.v.data(), n,
                 kCoefficients<T>);
    for (size_t i = 0; i < size_t(n); ++i) {
      adamw_update(&one_by_one.p[i], &one_by_one.g[i], &one_by_one.m[i], &one_by_one.v[i], 1,
                   kCoefficients<T>);
    }
    EXPECT_TRUE(together == one_by_one) << n;
  }
}

// The loop works on several elements at a time, its end on single ones: both must give the same
// bits, or parameters would depend on where a parameter begins.
TEST(AdamWUpdate, GivesTheSameBitsWhateverTheSize) {
  compare_sizes_with_one_by_one<float>();
  compare_sizes_with_one_by_one<double>();
}

/// The CPU's update with moments of the same type.
template <class T>
void update_on_cpu(Numbers<T>& numbers, std::vector<T>& m, std::vector<T>& v,
                   const MomentRounding&) {
  adamw_update(numbers.p.data(), numbers.g.data(), m.data(), v.data(), int64_t(m.size()),
               kCoefficients<T>);
}
void update_on_cpu(Numbers<float>& numbers, std::vector<Bf16>& m, std::vector<Bf16>& v,
                   const MomentRounding& rounding) {
  adamw_update(numbers.p.data(), numbers.g.data(), m.data(), v.data(), int64_t(m.size()),
               kCoefficients<float>, rounding);
}

template <class T, class G, class M>
void compare_with_the_cpu(Place place, int64_t n, bool is_stored) {
  constexpr MomentRounding kRounding{.step = 3, .first = 1'000'001};
  Numbers<T> cpu(n), gpu(n);
  std::vector<M> cpu_m, cpu_v;
  for (const T x : cpu.m) cpu_m.push_back(Arithmetic<M>::to(x));
  for (const T x : cpu.v) cpu_v.push_back(Arithmetic<M>::to(x));
  std::vector<M> gpu_m = cpu_m, gpu_v = cpu_v;
  std::vector<G> gradients;
  std::vector<Bf16> stored(size_t(n), Bf16{7}), expected_stored = stored;
  for (T& g : cpu.g) {
    gradients.push_back(Arithmetic<G>::to(g));
    g = Arithmetic<G>::from(gradients.back());
  }
  gpu.g = cpu.g;
  update_on_cpu(cpu, cpu_m, cpu_v, kRounding);
  for (size_t i = 0; is_stored && i < size_t(n); ++i) expected_stored[i] = to_bf16(float(cpu.p[i]));

  const AdamWArgs<T, G, M> args{.p = place.of(gpu.p),
                                .g = place.of(gradients),
                                .m = place.of(gpu_m),
                                .v = place.of(gpu_v),
                                .stored = is_stored ? place.of(stored) : nullptr,
                                .n = n,
                                .coefficients = kCoefficients<T>,
                                .rounding = kRounding};
  place.run([&] { adamw_cuda(args, nullptr); },
            [&](const auto& runner) { runner.template run<blocks::AdamWProgram<T, G, M>>(args); });

  EXPECT_EQ(gpu.p, cpu.p) << n;
  EXPECT_EQ(as_doubles(gpu_m), as_doubles(cpu_m)) << n;
  EXPECT_EQ(as_doubles(gpu_v), as_doubles(cpu_v)) << n;
  EXPECT_EQ(as_doubles(stored), as_doubles(expected_stored));
}

void compare(const Place& place) {
  for (const int64_t n : kGpuSizes) {
    compare_with_the_cpu<float, float, float>(place, n, false);
    compare_with_the_cpu<float, Bf16, float>(place, n, true);
    compare_with_the_cpu<float, float, Bf16>(place, n, true);
    compare_with_the_cpu<float, Bf16, Bf16>(place, n, false);
    compare_with_the_cpu<double, double, double>(place, n, false);
  }
}

ORRERY_COMPARE_KERNEL(AdamW, compare)

TEST(StochasticRounding, HasTheValueAsItsMeanAndLeavesWhatBf16Has) {
  for (const float value : {1.001F, -0.3F, 3e-39F, 1e-5F}) {
    double sum = 0;
    for (uint32_t random = 0; random < 0x10000; ++random) {
      sum += double(to_float(to_bf16_stochastically(value, random)));
    }
    EXPECT_NEAR(sum / 0x10000, double(value), 1e-9 * std::abs(double(value))) << value;
  }
  for (const float value : {0.0F, -1.5F, INFINITY, -INFINITY}) {
    EXPECT_EQ(to_float(to_bf16_stochastically(value, 0xffff)), value);
  }
  EXPECT_TRUE(std::isnan(to_float(to_bf16_stochastically(NAN, 0xffff))));
}

// A mean square of gradients that became small: each step takes a thousandth, less than a bf16
// tells apart, so that rounding to the nearest would stand still.
TEST(StochasticRounding, LetsMomentsDecayByStepsThatBf16DoesNotHave) {
  constexpr int kN = 4096, kSteps = 700;
  AdamWCoefficients<float> c = kCoefficients<float>;
  c.beta2 = 0.999F;
  std::vector<float> p(kN), g(kN);
  std::vector<Bf16> m(kN), v(kN, to_bf16(1));
  for (uint64_t step = 0; step < kSteps; ++step) {
    adamw_update(p.data(), g.data(), m.data(), v.data(), kN, c, {.step = step, .first = 0});
  }
  double mean = 0;
  for (const Bf16 x : v) mean += double(to_float(x)) / kN;
  EXPECT_EQ(to_float(to_bf16(0.999F)), 1.0F) << "nearest";
  EXPECT_NEAR(mean, std::pow(0.999, kSteps), 0.005);
}

}  // namespace
}  // namespace orrery::kernels
