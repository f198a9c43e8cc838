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

template <class T, class G>
void compare_with_the_cpu(Place place, int64_t n, bool is_stored) {
  Numbers<T> cpu(n), gpu(n);
  std::vector<G> gradients;
  std::vector<Bf16> stored(size_t(n), Bf16{7}), expected_stored = stored;
  for (T& g : cpu.g) {
    gradients.push_back(Arithmetic<G>::to(g));
    g = Arithmetic<G>::from(gradients.back());
  }
  gpu.g = cpu.g;
  adamw_update(cpu.p.data(), cpu.g.data(), cpu.m.data(), cpu.v.data(), n, kCoefficients<T>);
  for (size_t i = 0; is_stored && i < size_t(n); ++i) expected_stored[i] = to_bf16(float(cpu.p[i]));

  const AdamWArgs<T, G> args{.p = place.of(gpu.p),
                             .g = place.of(gradients),
                             .m = place.of(gpu.m),
                             .v = place.of(gpu.v),
                             .stored = is_stored ? place.of(stored) : nullptr,
                             .n = n,
                             .coefficients = kCoefficients<T>};
  place.run([&] { adamw_cuda(args, nullptr); },
            [&](const auto& runner) { runner.template run<blocks::AdamWProgram<T, G>>(args); });

  EXPECT_TRUE(gpu == cpu) << n;
  EXPECT_EQ(as_doubles(stored), as_doubles(expected_stored));
}

void compare(const Place& place) {
  for (const int64_t n : kGpuSizes) {
    compare_with_the_cpu<float, float>(place, n, false);
    compare_with_the_cpu<float, Bf16>(place, n, true);
    compare_with_the_cpu<double, double>(place, n, false);
  }
}

ORRERY_COMPARE_KERNEL(AdamW, compare)

}  // namespace
}  // namespace orrery::kernels
