// The one pass over memory against the textbook, operator by operator.
#include "orrery/parallel/adamw.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "orrery/base/error.h"
#include "shards_for_test.h"
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

TEST(AdamW, GoesWhereItGoesWithMomentsOfFp32WhereTheyAreBf16) {
  model::Decoder decoder = small_decoder(at::kFloat), exact = small_decoder(at::kFloat);
  AdamWOptions options = kOptions;
  AdamW with_fp32(exact.parameters(), options);
  options.bf16_moments = true;
  AdamW optimizer(decoder.parameters(), options);
  const at::Tensor before = decoder.parameters().values().clone();
  for (int t = 1; t <= 20; ++t) {
    set_gradients(decoder.parameters(), t);
    set_gradients(exact.parameters(), t);
    optimizer.step(0.01, 1);
    with_fp32.step(0.01, 1);
  }
  EXPECT_EQ(optimizer.first_moment().scalar_type(), at::kBFloat16);
  EXPECT_EQ(optimizer.second_moment().scalar_type(), at::kBFloat16);
  const at::Tensor moved = exact.parameters().values() - before;
  const at::Tensor off = decoder.parameters().values() - exact.parameters().values();
  EXPECT_LT((off.norm() / moved.norm()).item<double>(), 0.01);
  EXPECT_GT(off.abs().max().item<double>(), 0);
}

TEST(AdamW, RoundsMomentsOfBf16TheSameWhereARunGoesOn) {
  AdamWOptions options = kOptions;
  options.bf16_moments = true;
  model::Decoder straight = small_decoder(at::kFloat), resumed = small_decoder(at::kFloat);
  AdamW all(straight.parameters(), options), first(resumed.parameters(), options);
  const auto step = [](AdamW& optimizer, model::Decoder& decoder, int t) {
    set_gradients(decoder.parameters(), t);
    optimizer.step(0.01, 1);
  };
  for (int t = 1; t <= 2; ++t) {
    step(all, straight, t);
    step(first, resumed, t);
  }
  AdamW second(resumed.parameters(), options);
  second.restore(first.steps_done(), first.first_moment(), first.second_moment());
  step(all, straight, 3);
  step(second, resumed, 3);
  EXPECT_TRUE(at::equal(straight.parameters().values(), resumed.parameters().values()));
  EXPECT_TRUE(at::equal(all.second_moment(), second.second_moment()));
}

// The embedding of a tied model is the first parameter of the first stage and the last of the last:
// copies whose moments were rounded by their place in the buffer would part.
TEST(AdamW, RoundsMomentsOfACopyOnAnotherStageAlike) {
  const model::Architecture a = four_layers("tied");
  const std::string name = "model.embed_tokens.weight";
  AdamWOptions options = kOptions;
  options.bf16_moments = true;
  std::vector<at::Tensor> trained;
  for (const int stage : {0, 1}) {
    model::FlatParameters parameters(model::parameter_table(a, {.pipe = stage, .n_pipe = 2}),
                                     at::kFloat);
    parameters.initialise(7);
    const model::ParameterSpec* const spec = parameters.table().find(name);
    EXPECT_EQ(spec->offset == 0, stage == 0);
    AdamW optimizer(parameters, options);
    for (int t = 1; t <= 5; ++t) {
      parameters.gradient(name).copy_(
          at::arange(spec->numel, at::kFloat).mul(0.1 + t).sin().mul(0.02).view(spec->shape));
      optimizer.step(0.01, 1);
    }
    trained.push_back(parameters.leaf(name).detach().clone());
  }
  EXPECT_TRUE(at::equal(trained[0], trained[1]));
}

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

}  // namespace
}  // namespace orrery::parallel
