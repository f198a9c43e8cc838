#include "orrery/kernels/packed_gemm.h"

#include "kernel_references.h"

namespace orrery::kernels {
namespace {

template <class T>
struct Gemm {
  std::vector<T> x, weight, bias, residual, packed, y;
  PackedGemmArgs<T> args;

  Gemm(int64_t rows, int64_t in, int64_t out)
      : x(random_numbers<T>(rows * (in + 3), 1)),
        weight(random_numbers<T>(out * in, 2)),
        bias(random_numbers<T>(out, 3)),
        residual(random_numbers<T>(rows * (out + 2), 4)),
        packed(static_cast<size_t>(packed_size<T>(out, in))),
        y(residual) {
    pack_weight(weight.data(), out, in, packed.data());
    args = {.x = x.data(),
            .packed = packed.data(),
            .bias = bias.data(),
            .residual = y.data(),
            .y = y.data(),
            .n_rows = rows,
            .n_in = in,
            .n_out = out,
            .x_stride = in + 3,
            .y_stride = out + 2};
  }
};

TEST(PackedGemm, MatchesTheObviousLoopsWithBiasAndResidualInPlace) {
  on_every_table([]<class T>(const KernelTable<T>& table) {
    for (const int64_t rows : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 97, 211}) {
      for (const int64_t out : {1, 15, 16, 33, 97, 149}) {
        for (const int64_t in : {1, 31, 64}) {
          SCOPED_TRACE(testing::Message() << rows << " x " << in << " x " << out);
          Gemm<T> p(rows, in, out);

          table.packed_gemm(p.args);

          std::vector<double> expected(p.residual.begin(), p.residual.end());
          for (int64_t r = 0; r < rows; ++r) {
            for (int64_t o = 0; o < out; ++o) {
              double sum = static_cast<double>(p.bias[size_t(o)]);
              for (int64_t i = 0; i < in; ++i) {
                sum += double(p.x[size_t(r * (in + 3) + i)]) * double(p.weight[size_t(o * in + i)]);
              }
              expected[size_t(r * (out + 2) + o)] += sum;
            }
          }
          expect_near(p.y, expected);
        }
      }
    }
  });
}

TEST(PackedGemm, GivesARowTheSameBitsWhateverIsBesideIt) {
  on_every_table([]<class T>(const KernelTable<T>& table) {
    const int64_t rows = 101, in = 77, out = 49;
    Gemm<T> all(rows, in, out);
    table.packed_gemm(all.args);
    for (const int64_t count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 17}) {
      Gemm<T> some(rows, in, out);
      const int64_t first = 40;
      some.args.x += first * some.args.x_stride;
      some.args.residual += first * some.args.y_stride;
      some.args.y += first * some.args.y_stride;
      some.args.n_rows = count;

      table.packed_gemm(some.args);

      for (int64_t i = first * (out + 2); i < (first + count) * (out + 2); ++i) {
        ASSERT_EQ(some.y[size_t(i)], all.y[size_t(i)]) << count << " rows, number " << i;
      }
    }
  });
}

}  // namespace
}  // namespace orrery::kernels
