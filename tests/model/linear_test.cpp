#include "linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace orrery::model {
namespace {

TEST(Linear, GivesTheSameWhateverRowsAMatmulHas) {
  const auto options = at::TensorOptions(at::kDouble);
  const auto numbers = [&](int64_t rows, int64_t columns) {
    return at::arange(rows * columns, options).mul(0.7).sin().view({rows, columns});
  };
  const Linear linear{.weight = numbers(5, 3), .bias = numbers(1, 5).view({5}), .panels = {}};
  const at::Tensor x = numbers(7, 3), residual = numbers(7, 5).neg();
  const at::Tensor expected = x.mm(linear.weight.t()) + linear.bias;
  for (const int64_t at_once : {0, 1, 3, 7, 8, 100}) {
    SCOPED_TRACE(at_once);
    at::Tensor y = at::full({7, 5}, 3, options);
    apply(linear, x, y, {}, at_once);
    EXPECT_TRUE(at::allclose(y, expected));
    apply(linear, x, y, residual, at_once);
    EXPECT_TRUE(at::allclose(y, expected + residual));
    y = residual.clone();
    apply(linear, x, y, y, at_once);
    EXPECT_TRUE(at::allclose(y, expected + residual)) << "in place";
  }
}

}  // namespace
}  // namespace orrery::model
