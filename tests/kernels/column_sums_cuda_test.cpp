// The GPU's sums of columns against the definition in double.
#include "blocks/column_sums.h"
#include "gpu_for_test.h"

namespace orrery::kernels {
namespace {

template <class T>
void compare_type(const Place& place) {
  using Sum = typename ColumnSumsArgs<T>::Sum;
  for (const int64_t n_rows : {0, 1, 31, 256, 257, 1000}) {
    for (const int64_t width : {1, 33, 300}) {
      SCOPED_TRACE(testing::Message() << n_rows << " x " << width);
      std::vector<T> rows = random_stored<T>(n_rows * width, 1);
      std::vector<Sum> sums = random_numbers<Sum>(width, 2);
      std::vector<Sum> scratch(size_t(column_sums_scratch(n_rows, width)));
      std::vector<double> expected = as_doubles(sums);
      for (size_t i = 0; i < rows.size(); ++i) {
        expected[i % size_t(width)] += double(Arithmetic<T>::from(rows[i]));
      }
      Place own = place;
      const ColumnSumsArgs<T> args{.rows = own.of(rows),
                                   .sums = own.of(sums),
                                   .scratch = own.of(scratch),
                                   .n_rows = n_rows,
                                   .width = width};
      own.run([&] { add_column_sums_cuda(args, nullptr); },
              [&](const auto& runner) { blocks::add_column_sums(args, runner); });
      expect_near(sums, expected, 10 * bound<Sum>());
    }
  }
}

void compare(const Place& place) {
  compare_type<float>(place);
  compare_type<double>(place);
  compare_type<Bf16>(place);
}

ORRERY_COMPARE_KERNEL(ColumnSums, compare)

}  // namespace
}  // namespace orrery::kernels
