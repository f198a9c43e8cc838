// The GPU's norms and rotations of heads, and their gradients, against the definition in double.
#include "blocks/rotate_heads.h"
#include "gpu_for_test.h"
#include "orrery/kernels/rope.h"

namespace orrery::kernels {
namespace {

constexpr int64_t kQueries = 3, kKeys = 2, kHeads = kQueries + kKeys, kMostPositions = 40;
constexpr double kEps = 0.1;

struct Case {
  int64_t n_tokens, head_dim;
  bool is_normed, turns;
  double weight_offset;
};

template <class T>
struct Numbers {
  using Real = typename Arithmetic<T>::Type;
  int64_t stride;
  std::vector<T> x, y, gradient, query_weight, key_weight;
  std::vector<int32_t> positions;
  std::vector<Real> cosines, sines, rstd, dquery, dkey, scratch;

  explicit Numbers(const Case& of)
      : stride(kHeads * of.head_dim + 5),
        x(random_stored<T>(of.n_tokens * stride, 1)),
        y(random_stored<T>(of.n_tokens * stride, 2)),
        gradient(random_stored<T>(of.n_tokens * stride, 3)),
        query_weight(random_stored<T>(of.head_dim, 4)),
        key_weight(random_stored<T>(of.head_dim, 5)),
        cosines(size_t(kMostPositions * of.head_dim / 2)),
        sines(cosines),
        rstd(size_t(of.n_tokens * kHeads)),
        dquery(random_numbers<Real>(of.head_dim, 6)),
        dkey(random_numbers<Real>(of.head_dim, 7)),
        scratch(size_t(rotate_heads_backward_scratch(of.n_tokens, of.head_dim))) {
    fill_rope_table<Real>(cosines.data(), sines.data(), kMostPositions, of.head_dim, 100.0);
    for (int64_t t = 0; t < of.n_tokens; ++t) positions.push_back(int32_t(t * 7 % kMostPositions));
  }

  HeadsArgs<T> heads(Place& place, const Case& of) {
    return {.x = place.of(x),
            .positions = of.turns ? place.of(positions) : nullptr,
            .cosines = of.turns ? place.of(cosines) : nullptr,
            .sines = of.turns ? place.of(sines) : nullptr,
            .query_weight = of.is_normed ? place.of(query_weight) : nullptr,
            .key_weight = of.is_normed ? place.of(key_weight) : nullptr,
            .rstd = of.is_normed ? place.of(rstd) : nullptr,
            .n_tokens = of.n_tokens,
            .n_heads = kQueries,
            .n_kv_heads = kKeys,
            .head_dim = of.head_dim,
            .x_stride = stride,
            .eps = kEps,
            .weight_offset = of.weight_offset};
  }
};

template <class T>
void compare_case(Place place, const Case& of) {
  Numbers<T> n(of);
  const Numbers<T> before = n;
  const RotateHeadsArgs<T> forward{
      .heads = n.heads(place, of), .y = place.of(n.y), .y_stride = n.stride};
  place.run(
      [&] { rotate_heads_cuda(forward, nullptr); },
      [&](const auto& runner) { runner.template run<blocks::RotateHeadsProgram<T>>(forward); });
  const RotateHeadsBackwardArgs<T> backward{
      .heads = n.heads(place, of),
      .gradient = place.of(n.gradient),
      .gradient_stride = n.stride,
      .dquery_weight = of.is_normed ? place.of(n.dquery) : nullptr,
      .dkey_weight = of.is_normed ? place.of(n.dkey) : nullptr,
      .scratch = of.is_normed ? place.of(n.scratch) : nullptr};
  place.run([&] { rotate_heads_backward_cuda(backward, nullptr); },
            [&](const auto& runner) { blocks::rotate_heads_backward(backward, runner); });

  const size_t dim = size_t(of.head_dim), half = dim / 2;
  const std::vector<double> x = as_doubles(before.x);
  std::vector<double> y = as_doubles(before.y), gradient = as_doubles(before.gradient);
  std::vector<double> dquery = as_doubles(before.dquery), dkey = as_doubles(before.dkey);
  for (int64_t token = 0; token < of.n_tokens; ++token) {
    for (int64_t head = 0; head < kHeads; ++head) {
      const size_t at = size_t(token * n.stride) + size_t(head) * dim;
      const auto& weight = head < kQueries ? before.query_weight : before.key_weight;
      const auto w = [&](size_t d) {
        return of.is_normed ? double(Arithmetic<T>::from(weight[d])) + of.weight_offset : 1.0;
      };
      double squares = 0;
      for (size_t d = 0; d < dim; ++d) squares += x[at + d] * x[at + d];
      const double r = of.is_normed ? 1 / std::sqrt(squares / double(dim) + kEps) : 1;
      double product = 0;
      for (size_t i = 0; i < half; ++i) {
        const size_t turn = size_t(before.positions[size_t(token)]) * half + i;
        const double c = of.turns ? double(before.cosines[turn]) : 1;
        const double s = of.turns ? double(before.sines[turn]) : 0;
        const double a = x[at + i] * r * w(i), b = x[at + half + i] * r * w(half + i);
        y[at + i] = a * c - b * s;
        y[at + half + i] = b * c + a * s;
        const double da = gradient[at + i], db = gradient[at + half + i];
        gradient[at + i] = da * c + db * s;
        gradient[at + half + i] = db * c - da * s;
      }
      if (!of.is_normed) continue;
      for (size_t d = 0; d < dim; ++d) product += gradient[at + d] * w(d) * x[at + d] * r;
      for (size_t d = 0; d < dim; ++d) {
        const double h = x[at + d] * r;
        (head < kQueries ? dquery : dkey)[d] += gradient[at + d] * h;
        gradient[at + d] = r * (gradient[at + d] * w(d) - h * product / double(dim));
      }
    }
  }
  // Bf16 gradients are rounded between rotation and norm.
  const double sums = sizeof(T) == 2 ? 0.05 : 30 * bound<T>();
  expect_near(as_doubles(n.y), y, stored_bound<T>());
  expect_near(as_doubles(n.gradient), gradient, 2 * stored_bound<T>());
  expect_near(as_doubles(n.dquery), dquery, sums);
  expect_near(as_doubles(n.dkey), dkey, sums);
}

template <class T>
void compare_type(const Place& place) {
  for (const auto& [tokens, dim] : {std::pair(0, 4), {1, 2}, {5, 64}, {3, 256}, {300, 6}}) {
    for (const auto& [is_normed, turns] : {std::pair(true, true), {true, false}, {false, true}}) {
      SCOPED_TRACE(testing::Message() << tokens << " x " << dim << ", normed " << is_normed);
      compare_case<T>(place, {tokens, dim, is_normed, turns, tokens == 5 ? 1.0 : 0.0});
    }
  }
}

void compare(const Place& place) {
  compare_type<float>(place);
  compare_type<double>(place);
  compare_type<Bf16>(place);
}

ORRERY_COMPARE_KERNEL(RotateHeads, compare)

}  // namespace
}  // namespace orrery::kernels
