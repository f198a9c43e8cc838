// The GPU's work on rows by their numbers against loops over the rows: copies bit for bit, and sums
// of fp32 and fp64 too.
#include "blocks/indexed_rows.h"
#include "gpu_for_test.h"

namespace orrery::kernels {
namespace {

constexpr int64_t kTable = 5;
constexpr int64_t kWidths[] = {1, 33, 1030};

/// Rows of a table of kTable; some negative.
std::vector<int64_t> some_rows(int64_t n, bool has_negative) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < n; ++i) rows.push_back((i * 7 + 3) % kTable);
  for (size_t i = 1; has_negative && i < rows.size(); i += 3) rows[i] = -1 - int64_t(i);
  return rows;
}

template <class T>
void compare_take(Place place, int64_t n, int64_t width, Output output) {
  std::vector<T> x = random_stored<T>(kTable * width, 1), out = random_stored<T>(n * width, 2);
  std::vector<int64_t> rows = some_rows(n, true);
  const std::vector<double> table = as_doubles(x);
  std::vector<double> expected = as_doubles(out);
  for (size_t i = 0; i < expected.size(); ++i) {
    const int64_t row = rows[i / size_t(width)];
    const double from = row < 0 ? 0 : table[size_t(row * width) + i % size_t(width)];
    expected[i] = output == Output::kOverwrite ? from : expected[i] + from;
  }
  const TakeRowsArgs<T> args{.x = place.of(x),
                             .rows = place.of(rows),
                             .out = place.of(out),
                             .n_rows = n,
                             .width = width,
                             .output = output};
  place.run([&] { take_rows_cuda(args, nullptr); },
            [&](const auto& runner) { runner.template run<blocks::TakeRowsProgram<T>>(args); });
  expect_near(as_doubles(out), expected, output == Output::kOverwrite ? 0 : stored_bound<T>());
}

template <class T>
void compare_put(Place place, int64_t width) {
  std::vector<int64_t> rows{3, 0, 4};
  std::vector<T> x = random_stored<T>(3 * width, 1), out = random_stored<T>(kTable * width, 2);
  const std::vector<double> from = as_doubles(x);
  std::vector<double> expected = as_doubles(out);
  for (size_t i = 0; i < from.size(); ++i) {
    expected[size_t(rows[i / size_t(width)] * width) + i % size_t(width)] = from[i];
  }
  const PutRowsArgs<T> args{
      .x = place.of(x), .rows = place.of(rows), .out = place.of(out), .n_rows = 3, .width = width};
  place.run([&] { put_rows_cuda(args, nullptr); },
            [&](const auto& runner) { runner.template run<blocks::PutRowsProgram<T>>(args); });
  EXPECT_EQ(as_doubles(out), expected);
}

/// `rows[i]` is the target of row i; segments as a program makes them.
struct Segments {
  std::vector<int64_t> order, starts{0}, targets;

  explicit Segments(const std::vector<int64_t>& rows) {
    for (int64_t target = 0; target < kTable; ++target) {
      for (size_t i = 0; i < rows.size(); ++i) {
        if (rows[i] == target) order.push_back(int64_t(i));
      }
      if (int64_t(order.size()) == starts.back()) continue;
      starts.push_back(int64_t(order.size()));
      targets.push_back(target);
    }
  }
};

template <class T, class G>
void compare_add(Place place, int64_t n, int64_t width, bool is_scaled) {
  using Scale = typename AddRowsArgs<T, G>::Scale;
  std::vector<T> x = random_stored<T>(n * width, 1);
  std::vector<G> out = random_stored<G>(kTable * width, 2);
  std::vector<Scale> scales = random_numbers<Scale>(2 * n, 3);
  std::vector<int64_t> places;
  for (int64_t i = 0; i < n; ++i) places.push_back(2 * n - 1 - i);
  const std::vector<int64_t> rows = some_rows(n, false);
  Segments segments(rows);

  std::vector<typename Arithmetic<G>::Type> expected;
  for (const G number : out) expected.push_back(Arithmetic<G>::from(number));
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t row = i / size_t(width);
    const Scale scale = is_scaled ? scales[size_t(places[row])] : Scale(1);
    const volatile Scale product = scale * Arithmetic<T>::from(x[i]);  // rounded on its own
    expected[size_t(rows[row] * width) + i % size_t(width)] += product;
  }
  const AddRowsArgs<T, G> args{.x = place.of(x),
                               .order = place.of(segments.order),
                               .starts = place.of(segments.starts),
                               .targets = place.of(segments.targets),
                               .scales = is_scaled ? place.of(scales) : nullptr,
                               .places = is_scaled ? place.of(places) : nullptr,
                               .out = place.of(out),
                               .n_segments = int64_t(segments.targets.size()),
                               .width = width};
  place.run([&] { add_rows_cuda(args, nullptr); },
            [&](const auto& runner) { runner.template run<blocks::AddRowsProgram<T, G>>(args); });
  expect_near(as_doubles(out), as_doubles(expected), sizeof(G) == 2 ? stored_bound<G>() : 0);
}

template <class T>
void compare_type(const Place& place) {
  for (const int64_t width : kWidths) {
    SCOPED_TRACE(width);
    for (const int64_t n : {0, 1, 40}) {
      compare_take<T>(place, n, width, Output::kOverwrite);
      compare_take<T>(place, n, width, Output::kAdd);
    }
    compare_put<T>(place, width);
  }
}

void compare(const Place& place) {
  compare_type<float>(place);
  compare_type<double>(place);
  compare_type<Bf16>(place);
  for (const int64_t width : kWidths) {
    for (const bool is_scaled : {false, true}) {
      for (const int64_t n : {0, 1, 40}) {
        SCOPED_TRACE(testing::Message() << n << " x " << width << ", scaled " << is_scaled);
#define ORRERY_COMPARE(T, G) compare_add<T, G>(place, n, width, is_scaled);
        ORRERY_ADD_ROWS_TYPES(ORRERY_COMPARE)
#undef ORRERY_COMPARE
      }
    }
  }
}

ORRERY_COMPARE_KERNEL(IndexedRows, compare)

}  // namespace
}  // namespace orrery::kernels
