// The one pass over memory against the textbook, operator by operator.
#include "orrery/parallel/adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "adamw_update.h"
#include "orrery/base/error.h"
#include "training_for_test.h"

namespace orrery::parallel {
namespace {

constexpr AdamWOptions kOptions{.beta1 = 0.9, .beta2 = 0.97, .eps = 1e-6, .weight_decay = 0.3};

/// Loshchilov and Hutter, algorithm 2, on the whole buffer.
class Textbook {
 public:
  explicit Textbook(model::FlatParameters& parameters)
      : p(parameters.values().clone()),
        m(at::zeros_like(p)),
        v(at::zeros_like(p)),
        decay(at::zeros_like(p)) {
    for (const model::ParameterSpec& spec : parameters.table().parameters) {
      if (spec.weight_decay) decay.narrow(0, spec.offset, spec.numel).fill_(kOptions.weight_decay);
    }
  }

  void step(const at::Tensor& g, double lr, int t) {
    m = kOptions.beta1 * m + (1 - kOptions.beta1) * g;
    v = kOptions.beta2 * v + (1 - kOptions.beta2) * g * g;
    const at::Tensor m_hat = m / (1 - std::pow(kOptions.beta1, t));
    const at::Tensor v_hat = v / (1 - std::pow(kOptions.beta2, t));
    p = p - lr * (m_hat / (v_hat.sqrt() + kOptions.eps) + decay * p);
  }

  at::Tensor p, m, v, decay;
};

void set_gradients(model::FlatParameters& parameters, int step) {
  const at::Tensor& g = parameters.gradients();
  g.copy_(at::arange(g.numel(), g.options()).mul(0.1 + step).sin().mul(0.02));
}

void compare_with_textbook(at::ScalarType dtype, double tolerance) {
  model::Decoder decoder = small_decoder(dtype);
  model::FlatParameters& parameters = decoder.parameters();
  Textbook expected(parameters);
  AdamW optimizer(parameters, kOptions);

  for (int t = 1; t <= 4; ++t) {
    set_gradients(parameters, t);
    expected.step(parameters.gradients() * 0.5, 0.01 * t, t);
    optimizer.step(0.01 * t, 0.5);
  }

  EXPECT_EQ(optimizer.steps_done(), 4);
  EXPECT_LT(max_difference(parameters.values(), expected.p), tolerance);
  EXPECT_LT(max_difference(optimizer.first_moment(), expected.m), tolerance);
  EXPECT_LT(max_difference(optimizer.second_moment(), expected.v), tolerance);
}

TEST(AdamW, IsTheTextbookInDouble) { compare_with_textbook(at::kDouble, 1e-14); }

// Values are near 1, moments below 0.02: a few roundings of 6e-8 each.
TEST(AdamW, IsTheTextbookInFloat) { compare_with_textbook(at::kFloat, 2e-6); }

TEST(AdamW, DecaysNeitherNormsNorBiases) {
  model::Decoder decoder = small_decoder();
  model::FlatParameters& parameters = decoder.parameters();
  const at::Tensor before = parameters.values().clone();
  parameters.gradients();  // zero: only the decay is left
  AdamW optimizer(parameters, kOptions);

  optimizer.step(0.1, 1);

  int n_exempt = 0;
  for (const model::ParameterSpec& spec : parameters.table().parameters) {
    const at::Tensor was = before.narrow(0, spec.offset, spec.numel);
    const at::Tensor is = parameters.values().narrow(0, spec.offset, spec.numel);
    const bool is_vector = spec.shape.size() == 1;  // norms and biases
    n_exempt += is_vector ? 1 : 0;
    EXPECT_LT(max_difference(is, was * (is_vector ? 1 : 1 - 0.1 * 0.3)), 1e-15) << spec.name;
  }
  EXPECT_EQ(n_exempt, 2 * (2 + 3) + 1);  // per layer 2 norms and 3 biases, and the last norm
}

TEST(AdamW, GoesOnFromASavedState) {
  model::Decoder straight = small_decoder();
  model::Decoder resumed = small_decoder();
  AdamW all(straight.parameters(), kOptions);
  AdamW first(resumed.parameters(), kOptions);
  for (int t = 1; t <= 2; ++t) {
    set_gradients(straight.parameters(), t);
    set_gradients(resumed.parameters(), t);
    all.step(0.01, 1);
    first.step(0.01, 1);
  }

  AdamW second(resumed.parameters(), kOptions);
  second.restore(first.steps_done(), first.first_moment(), first.second_moment());
  set_gradients(straight.parameters(), 3);
  set_gradients(resumed.parameters(), 3);
  all.step(0.01, 1);
  second.step(0.01, 1);

  EXPECT_TRUE(at::equal(straight.parameters().values(), resumed.parameters().values()));
  EXPECT_THROW(second.restore(1, at::zeros({3}, at::kDouble), first.second_moment()), ShapeError);
  EXPECT_THROW(second.restore(1, first.first_moment().to(at::kFloat), first.second_moment()),
               ShapeError);
}

template <class T>
void compare_sizes_with_one_by_one() {
  const AdamWCoefficients<T> c{.gradient_scale = T(0.5),
                               .beta1 = T(0.9),
                               .beta2 = T(0.95),
                               .lr = T(0.1),
                               .decay = T(0.2),
                               .correction1 = T(0.4),
                               .root_correction2 = T(0.3),
                               .eps = T(1e-8)};
  for (const int64_t n : {0, 1, 7, 8, 9, 31, 1009}) {
    const at::TensorOptions options = at::CppTypeToScalarType<T>::value;
    at::Tensor p = at::arange(n, options).sin(), m = at::arange(n, options).cos();
    at::Tensor v = at::arange(n, options).mul(0.3).sin().abs();
    const at::Tensor g = at::arange(n, options).mul(1.7).sin();
    at::Tensor p1 = p.clone(), m1 = m.clone(), v1 = v.clone();

    adamw_update(p.data_ptr<T>(), g.const_data_ptr<T>(), m.data_ptr<T>(), v.data_ptr<T>(), n, c);
    for (int64_t i = 0; i < n; ++i) {
      adamw_update(p1.data_ptr<T>() + i, g.const_data_ptr<T>() + i, m1.data_ptr<T>() + i,
                   v1.data_ptr<T>() + i, 1, c);
    }

    EXPECT_TRUE(at::equal(p, p1) && at::equal(m, m1) && at::equal(v, v1)) << n;
  }
}

// The loop works on several elements at a time, its end on single ones: both must give the same
// bits, or parameters would depend on where a parameter begins.
TEST(AdamWUpdate, GivesTheSameBitsWhateverTheSize) {
  compare_sizes_with_one_by_one<float>();
  compare_sizes_with_one_by_one<double>();
}

}  // namespace
}  // namespace orrery::parallel
