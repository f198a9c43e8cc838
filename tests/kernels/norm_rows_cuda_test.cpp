// The GPU's norms of rows and their gradients against the definition in double.
#include "blocks/norm_rows.h"
#include "gpu_for_test.h"

namespace orrery::kernels {
namespace {

struct Shape {
  int64_t n_rows, width;
};

/// Rows of one block and of several chunks, widths of less and more than a block's threads.
constexpr Shape kShapes[] = {{0, 8}, {1, 1}, {3, 257}, {5, 33}, {600, 7}, {257, 64}};

struct Case {
  bool is_centered, is_added;
  double weight_offset;
};
constexpr Case kCases[] = {{false, false, 0}, {false, true, 1}, {true, false, 0}, {true, true, 0}};

constexpr double kEps = 0.1;

double mean_of(const double* row, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += row[i];
  return sum / double(n);
}

template <class T>
struct Numbers {
  using Real = typename Arithmetic<T>::Type;
  std::vector<T> x, added, sum, y, dy, dx, weight, bias;
  std::vector<Real> rstd, dweight, dbias, scratch;

  explicit Numbers(const Shape& shape)
      : x(random_stored<T>(shape.n_rows * shape.width, 1)),
        added(random_stored<T>(shape.n_rows * shape.width, 2)),
        sum(x),
        y(x),
        dy(random_stored<T>(shape.n_rows * shape.width, 3)),
        dx(random_stored<T>(shape.n_rows * shape.width, 4)),
        weight(random_stored<T>(shape.width, 5)),
        bias(random_stored<T>(shape.width, 6)),
        rstd(size_t(shape.n_rows)),
        dweight(random_numbers<Real>(shape.width, 7)),
        dbias(random_numbers<Real>(shape.width, 8)),
        scratch(size_t(norm_rows_backward_scratch(shape.n_rows, shape.width))) {}
};

template <class T>
void run_forward(Place& place, const Shape& shape, const Case& of, Numbers<T>& n) {
  const NormRowsArgs<T> args{.x = place.of(n.x),
                             .added = of.is_added ? place.of(n.added) : nullptr,
                             .sum = of.is_added ? place.of(n.sum) : nullptr,
                             .weight = place.of(n.weight),
                             .bias = of.is_centered ? place.of(n.bias) : nullptr,
                             .y = place.of(n.y),
                             .rstd = place.of(n.rstd),
                             .n_rows = shape.n_rows,
                             .width = shape.width,
                             .eps = kEps,
                             .weight_offset = of.weight_offset,
                             .is_centered = of.is_centered};
  place.run([&] { norm_rows_cuda(args, nullptr); },
            [&](const auto& runner) { runner.template run<blocks::NormRowsProgram<T>>(args); });
}

template <class T>
void run_backward(Place& place, const Shape& shape, const Case& of, Numbers<T>& n) {
  const NormRowsBackwardArgs<T> args{.x = place.of(n.sum),
                                     .weight = place.of(n.weight),
                                     .rstd = place.of(n.rstd),
                                     .dy = place.of(n.dy),
                                     .dx = place.of(n.dx),
                                     .dweight = place.of(n.dweight),
                                     .dbias = of.is_centered ? place.of(n.dbias) : nullptr,
                                     .scratch = place.of(n.scratch),
                                     .n_rows = shape.n_rows,
                                     .width = shape.width,
                                     .weight_offset = of.weight_offset,
                                     .is_centered = of.is_centered,
                                     .dx_output = of.is_added ? Output::kAdd : Output::kOverwrite};
  place.run([&] { norm_rows_backward_cuda(args, nullptr); },
            [&](const auto& runner) { blocks::norm_rows_backward(args, runner); });
}

template <class T>
void compare_case(Place place, const Shape& shape, const Case& of) {
  Numbers<T> n(shape);
  const Numbers<T> before = n;
  run_forward(place, shape, of, n);
  run_backward(place, shape, of, n);

  std::vector<double> x = as_doubles(before.x), y(x.size()), dx = as_doubles(before.dx);
  std::vector<double> dweight = as_doubles(before.dweight), dbias = as_doubles(before.dbias);
  const std::vector<double> dy = as_doubles(before.dy);
  for (int64_t row = 0; row < shape.n_rows; ++row) {
    double* const xs = x.data() + row * shape.width;
    const size_t first = size_t(row * shape.width), width = size_t(shape.width);
    for (size_t i = 0; of.is_added && i < width; ++i) {
      // The stored sum is what is normed.
      xs[i] = double(
          Arithmetic<T>::from(Arithmetic<T>::to(Arithmetic<T>::from(before.x[first + i]) +
                                                Arithmetic<T>::from(before.added[first + i]))));
    }
    const double mean = of.is_centered ? mean_of(xs, shape.width) : 0;
    double squares = 0, sum_g = 0, sum_gh = 0;
    for (size_t i = 0; i < width; ++i) squares += (xs[i] - mean) * (xs[i] - mean);
    const double r = 1 / std::sqrt(squares / double(width) + kEps);
    const auto w = [&](size_t i) {
      return double(Arithmetic<T>::from(before.weight[i])) + of.weight_offset;
    };
    for (size_t i = 0; i < width; ++i) {
      const double h = (xs[i] - mean) * r;
      y[first + i] = h * w(i) + (of.is_centered ? double(Arithmetic<T>::from(before.bias[i])) : 0);
      sum_g += dy[first + i] * w(i);
      sum_gh += dy[first + i] * w(i) * h;
      dweight[i] += dy[first + i] * h;
      if (of.is_centered) dbias[i] += dy[first + i];
    }
    for (size_t i = 0; i < width; ++i) {
      const double h = (xs[i] - mean) * r;
      const double gradient = r * (dy[first + i] * w(i) - h * sum_gh / double(width) -
                                   (of.is_centered ? sum_g / double(width) : 0));
      dx[first + i] = gradient + (of.is_added ? dx[first + i] : 0);
    }
  }
  using Real = typename Arithmetic<T>::Type;
  const double sums = 30 * bound<Real>();  // over up to 600 rows
  expect_near(as_doubles(n.y), y, stored_bound<T>());
  expect_near(as_doubles(n.dx), dx, stored_bound<T>());
  expect_near(n.dweight, dweight, sums);
  expect_near(n.dbias, dbias, sums);
}

template <class T>
void compare_type(const Place& place) {
  for (const Shape& shape : kShapes) {
    for (const Case& of : kCases) {
      SCOPED_TRACE(testing::Message() << shape.n_rows << " x " << shape.width << ", centered "
                                      << of.is_centered << ", added " << of.is_added);
      compare_case<T>(place, shape, of);
    }
  }
}

void compare(const Place& place) {
  compare_type<float>(place);
  compare_type<double>(place);
  compare_type<Bf16>(place);
}

ORRERY_COMPARE_KERNEL(NormRows, compare)

}  // namespace
}  // namespace orrery::kernels
