// The GPU's activation functions against the same functions in double, and their slopes against
// differences.
#include "blocks/activation.h"
#include "gpu_for_test.h"

namespace orrery::kernels {
namespace {

constexpr ActivationFunction kFunctions[] = {ActivationFunction::kSilu,
                                             ActivationFunction::kGeluTanh,
                                             ActivationFunction::kGelu, ActivationFunction::kRelu};

struct Case {
  int64_t n_rows, width;
  ActivationFunction function;
  bool is_gated;
};

template <class T>
void compare_case(Place place, const Case& of) {
  const size_t width = size_t(of.width), up_width = of.is_gated ? 2 * width : width;
  std::vector<T> up = random_stored<T>(of.n_rows * int64_t(up_width), 1);
  for (T& x : up) x = Arithmetic<T>::to(4 * Arithmetic<T>::from(x));
  std::vector<T> out(size_t(of.n_rows) * width), dup(up.size()), out_again(out.size());
  std::vector<T> dout = random_stored<T>(int64_t(out.size()), 2);

  const ActivateArgs<T> forward{.up = place.of(up),
                                .out = place.of(out),
                                .n_rows = of.n_rows,
                                .width = of.width,
                                .function = of.function,
                                .is_gated = of.is_gated};
  place.run([&] { activate_cuda(forward, nullptr); },
            [&](const auto& runner) { runner.template run<blocks::ActivateProgram<T>>(forward); });
  const ActivateBackwardArgs<T> backward{.up = place.of(up),
                                         .dout = place.of(dout),
                                         .dup = place.of(dup),
                                         .out = place.of(out_again),
                                         .n_rows = of.n_rows,
                                         .width = of.width,
                                         .function = of.function,
                                         .is_gated = of.is_gated};
  place.run([&] { activate_backward_cuda(backward, nullptr); },
            [&](const auto& runner) {
              runner.template run<blocks::ActivateBackwardProgram<T>>(backward);
            });

  const std::vector<double> ups = as_doubles(up), douts = as_doubles(dout);
  std::vector<double> outs(out.size()), dups(up.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t at = i / width * up_width + i % width;
    const Activation<double> f = activation(of.function, ups[at]);
    const double factor = of.is_gated ? ups[at + width] : 1;
    outs[i] = f.value * factor;
    dups[at] = douts[i] * factor * f.slope;
    if (of.is_gated) dups[at + width] = douts[i] * f.value;
  }
  expect_near(as_doubles(out), outs, stored_bound<T>());
  expect_near(as_doubles(dup), dups, stored_bound<T>());
  EXPECT_EQ(as_doubles(out_again), as_doubles(out));
}

template <class T>
void compare_type(const Place& place) {
  for (const ActivationFunction function : kFunctions) {
    for (const bool is_gated : {true, false}) {
      for (const auto& [rows, width] : {std::pair(0, 5), {3, 1}, {2, 1025}, {33, 31}}) {
        SCOPED_TRACE(testing::Message() << int(function) << " " << is_gated << " " << width);
        compare_case<T>(place, {rows, width, function, is_gated});
      }
    }
  }
}

void compare(const Place& place) {
  compare_type<float>(place);
  compare_type<double>(place);
  compare_type<Bf16>(place);
}

ORRERY_COMPARE_KERNEL(Activation, compare)

TEST(ActivationFunctions, HaveTheSlopesThatTheirDifferencesHave) {
  for (const ActivationFunction function : kFunctions) {
    for (const double x : {-3.0, -0.7, 0.2, 1.5, 6.0}) {
      const double step = 1e-6;
      const double difference =
          activation(function, x + step).value - activation(function, x - step).value;
      EXPECT_NEAR(activation(function, x).slope, difference / (2 * step), 1e-8) << x;
    }
  }
}

TEST(ActivationFunctions, HaveValuesThatOthersPublish) {
  // torch.nn.functional of 1.5: silu, gelu(approximate="tanh"), gelu, relu
  const double expected[] = {1.2263617, 1.3995716, 1.3997892, 1.5};
  for (size_t i = 0; i < std::size(kFunctions); ++i) {
    EXPECT_NEAR(activation(kFunctions[i], 1.5).value, expected[i], 1e-6);
  }
}

}  // namespace
}  // namespace orrery::kernels
