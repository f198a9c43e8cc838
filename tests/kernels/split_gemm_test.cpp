// Products of fp32 matrices from pieces of bf16, against sums in fp64.
#include "orrery/kernels/split_gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernel_references.h"

namespace orrery::kernels {
namespace {

enum class Order { kRows, kColumns };

/// Numbers of both signs over some orders of magnitude.
struct Matrix {
  std::vector<float> data;
  StridedMatrix view;

  Matrix(int64_t rows, int64_t columns, Order order, uint64_t stream)
      : data(random_numbers<float>(rows * columns, stream)) {
    const auto scales = random_numbers<float>(rows * columns, stream + 1);
    for (size_t i = 0; i < data.size(); ++i) data[i] *= std::exp(4 * scales[i]);
    view = order == Order::kRows ? StridedMatrix{data.data(), columns, 1}
                                 : StridedMatrix{data.data(), 1, rows};
  }
  double at(int64_t row, int64_t column) const {
    return view.data[row * view.row_stride + column * view.column_stride];
  }
};

struct Shape {
  int64_t m, n, k;
};

struct SplitGemmRows : testing::Test {
  void SetUp() override {
    if (!has_split_gemm()) GTEST_SKIP() << "SKIPPED: this processor has no AMX";
  }
};
struct SplitGemm : SplitGemmRows, testing::WithParamInterface<Shape> {};

/// Largest error, relative to the sum of the absolute products of an element.
double largest_error(const Matrix& a, const Matrix& b, const std::vector<float>& before,
                     const std::vector<float>& c, Shape shape, int64_t c_stride) {
  double largest = 0;
  for (int64_t i = 0; i < shape.m; ++i) {
    for (int64_t j = 0; j < shape.n; ++j) {
      const auto place = static_cast<size_t>(i * c_stride + j);
      double expected = before[place], size = std::abs(expected);
      for (int64_t k = 0; k < shape.k; ++k) {
        const double product = a.at(i, k) * b.at(k, j);
        expected += product;
        size += std::abs(product);
      }
      if (size > 0) largest = std::max(largest, std::abs(c[place] - expected) / size);
    }
  }
  return largest;
}

TEST_P(SplitGemm, HasThePrecisionOfFp32) {
  const Shape shape = GetParam();
  const int64_t c_stride = shape.n + 3;
  for (const Order a_order : {Order::kRows, Order::kColumns}) {
    for (const Order b_order : {Order::kRows, Order::kColumns}) {
      const Matrix a(shape.m, shape.k, a_order, 1), b(shape.k, shape.n, b_order, 3);
      for (const bool accumulate : {false, true}) {
        auto c = random_numbers<float>(shape.m * c_stride, 5);
        auto before = c;
        split_gemm({.a = a.view,
                    .b = b.view,
                    .c = c.data(),
                    .m = shape.m,
                    .n = shape.n,
                    .k = shape.k,
                    .c_stride = c_stride,
                    .accumulate = accumulate});
        for (int64_t i = 0; i < shape.m; ++i) {
          for (int64_t j = shape.n; j < c_stride; ++j) {
            const auto place = static_cast<size_t>(i * c_stride + j);
            ASSERT_EQ(c[place], before[place]) << "past the end of row " << i;
          }
        }
        if (!accumulate) std::fill(before.begin(), before.end(), 0.0F);
        EXPECT_LT(largest_error(a, b, before, c, shape, c_stride), 1e-6)
            << "a by columns: " << (a_order == Order::kColumns)
            << ", b by columns: " << (b_order == Order::kColumns) << ", accumulate " << accumulate;
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Shapes, SplitGemm,
                         testing::Values(Shape{1, 1, 1}, Shape{32, 32, 32}, Shape{33, 31, 65},
                                         Shape{64, 400, 130}, Shape{100, 17, 1100},
                                         Shape{5, 900, 520}),
                         [](const auto& p) {
                           return std::to_string(p.param.m) + "x" + std::to_string(p.param.n) +
                                  "x" + std::to_string(p.param.k);
                         });

TEST_F(SplitGemmRows, GivesARowTheSameNumbersWhateverIsBesideIt) {
  const Shape shape{70, 40, 200};
  const Matrix a(shape.m, shape.k, Order::kRows, 1), b(shape.k, shape.n, Order::kColumns, 3);
  const auto rows = [&](int64_t first, int64_t count) {
    std::vector<float> c(static_cast<size_t>(count * shape.n));
    split_gemm({.a = {a.view.data + first * shape.k, shape.k, 1},
                .b = b.view,
                .c = c.data(),
                .m = count,
                .n = shape.n,
                .k = shape.k,
                .c_stride = shape.n});
    return c;
  };
  const auto all = rows(0, shape.m);
  for (const int64_t row : {0, 17, 69}) {
    const auto one = rows(row, 1);
    EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + row * shape.n));
  }
}

TEST_F(SplitGemmRows, OfNoDepthIsZeroOrWhatWasThere) {
  std::vector<float> c(6, 7.0F);
  SplitGemmArgs args{
      .a = {}, .b = {}, .c = c.data(), .m = 2, .n = 3, .k = 0, .c_stride = 3, .accumulate = true};
  split_gemm(args);
  EXPECT_EQ(c, std::vector<float>(6, 7.0F));
  args.accumulate = false;
  split_gemm(args);
  EXPECT_EQ(c, std::vector<float>(6, 0.0F));
}

}  // namespace
}  // namespace orrery::kernels
