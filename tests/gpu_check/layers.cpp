// What lies between a layer's matmuls, and the optimizer, in bf16 at the sizes of Qwen2.5-7B. Rows
// repeat, so that the CPU computes few of them; it computes in float from the same numbers.
#include <cmath>

#include "check.h"
#include "orrery/kernels/activation.h"
#include "orrery/kernels/adamw.h"
#include "orrery/kernels/column_sums.h"
#include "orrery/kernels/indexed_rows.h"
#include "orrery/kernels/norm_rows.h"
#include "orrery/kernels/rope.h"
#include "orrery/kernels/rotate_heads.h"
#include "orrery/kernels/silu_mul.h"

namespace orrery::gpu_check {

namespace {

using kernels::Bf16;

constexpr double kEps = 1e-6;
constexpr double kAllowed = 1e-2;  // bf16 has eight bits
constexpr int64_t kDifferent = 4;  // rows that the CPU computes

struct Sizes7B {
  int64_t tokens, hidden, intermediate, n_heads, n_kv_heads, head_dim, parameters;
};
Sizes7B sizes_of(const Check& check) {
  if (check.is_small()) return {5, 96, 200, 3, 2, 16, 1000};
  return {8192, 3584, 18'944, 28, 4, 128, 100'000'000};
}

std::vector<float> as_floats(const std::vector<Bf16>& numbers) {
  std::vector<float> result;
  for (const Bf16 x : numbers) result.push_back(kernels::to_float(x));
  return result;
}

template <class T>
DeviceArray<T> nothing(int64_t size) {
  return DeviceArray<T>(std::vector<T>(1), size);
}

void check_norm(const Check& check, Figure& figure) {
  const Sizes7B s = sizes_of(check);
  const auto x = random_numbers<Bf16>(kDifferent * s.hidden, 2, 11);
  const auto added = random_numbers<Bf16>(kDifferent * s.hidden, 2, 12);
  const auto weight = random_numbers<Bf16>(s.hidden, 1, 13);
  const std::vector<float> weights = as_floats(weight);
  const DeviceArray<Bf16> gpu_x(x, s.tokens * s.hidden), gpu_added(added, s.tokens * s.hidden);
  const auto sum = nothing<Bf16>(s.tokens * s.hidden), y = nothing<Bf16>(s.tokens * s.hidden);
  const DeviceArray<Bf16> gpu_weight(weight);
  const auto rstd = nothing<float>(s.tokens);

  figure.value = 1e6 * check.timer.in_graph([&](int64_t, cudaStream_t stream) {
    kernels::norm_rows_cuda<Bf16>({.x = gpu_x.get(),
                                   .added = gpu_added.get(),
                                   .sum = sum.get(),
                                   .weight = gpu_weight.get(),
                                   .y = y.get(),
                                   .rstd = rstd.get(),
                                   .n_rows = s.tokens,
                                   .width = s.hidden,
                                   .eps = kEps},
                                  stream);
  });

  std::vector<float> sums = as_floats(x), expected(sums.size());
  for (size_t i = 0; i < sums.size(); ++i) {
    sums[i] = kernels::to_float(kernels::to_bf16(sums[i] + kernels::to_float(added[i])));
  }
  kernels::rms_norm<float>({.x = sums.data(),
                            .weight = weights.data(),
                            .y = expected.data(),
                            .n_tokens = kDifferent,
                            .width = s.hidden,
                            .x_stride = s.hidden,
                            .y_stride = s.hidden,
                            .eps = kEps});
  figure.roofline = check.roofline_us(4 * gpu_x.size_bytes());
  figure.compared = {compare(sum, sums, 0), compare(y, expected, kAllowed)};
}

void check_norm_backward(const Check& check, Figure& figure) {
  const Sizes7B s = sizes_of(check);
  const auto x = random_numbers<Bf16>(kDifferent * s.hidden, 2, 14);
  const auto dy = random_numbers<Bf16>(kDifferent * s.hidden, 2, 15);
  const auto weight = random_numbers<Bf16>(s.hidden, 1, 16);
  const std::vector<float> xs = as_floats(x), dys = as_floats(dy), weights = as_floats(weight);
  std::vector<float> rstd(kDifferent), y(xs.size());
  kernels::rms_norm<float>({.x = xs.data(),
                            .weight = weights.data(),
                            .y = y.data(),
                            .rstd = rstd.data(),
                            .n_tokens = kDifferent,
                            .width = s.hidden,
                            .x_stride = s.hidden,
                            .y_stride = s.hidden,
                            .eps = kEps});
  const DeviceArray<Bf16> gpu_x(x, s.tokens * s.hidden), gpu_dy(dy, s.tokens * s.hidden);
  const auto dx = nothing<Bf16>(s.tokens * s.hidden);
  const DeviceArray<Bf16> gpu_weight(weight);
  const DeviceArray<float> gpu_rstd(rstd, s.tokens);
  const auto dweight = nothing<float>(s.hidden);
  const auto scratch = nothing<float>(kernels::norm_rows_backward_scratch(s.tokens, s.hidden));

  figure.value = 1e6 * check.timer.in_graph([&](int64_t, cudaStream_t stream) {
    kernels::norm_rows_backward_cuda<Bf16>({.x = gpu_x.get(),
                                            .weight = gpu_weight.get(),
                                            .rstd = gpu_rstd.get(),
                                            .dy = gpu_dy.get(),
                                            .dx = dx.get(),
                                            .dweight = dweight.get(),
                                            .scratch = scratch.get(),
                                            .n_rows = s.tokens,
                                            .width = s.hidden},
                                           stream);
  });

  std::vector<float> expected(xs.size()), unused(static_cast<size_t>(s.hidden));
  kernels::rms_norm_backward<float>({.x = xs.data(),
                                     .weight = weights.data(),
                                     .rstd = rstd.data(),
                                     .dy = dys.data(),
                                     .dx = expected.data(),
                                     .dweight = unused.data(),
                                     .n_tokens = kDifferent,
                                     .width = s.hidden,
                                     .x_stride = s.hidden,
                                     .dy_stride = s.hidden,
                                     .dx_stride = s.hidden});
  figure.roofline = check.roofline_us(3 * gpu_x.size_bytes());
  figure.compared = {compare(dx, expected, kAllowed)};
}

/// silu(gate) * up and its gradients on the CPU, of rows that repeat.
struct Gated {
  std::vector<Bf16> up, dout;
  std::vector<float> out, dup;

  Gated(int64_t rows, int64_t width)
      : up(random_numbers<Bf16>(rows * 2 * width, 4, 17)),
        dout(random_numbers<Bf16>(rows * width, 2, 18)),
        out(dout.size()),
        dup(up.size()) {
    const std::vector<float> ups = as_floats(up), douts = as_floats(dout);
    kernels::silu_mul_backward<float>({.gate_up = ups.data(),
                                       .dout = douts.data(),
                                       .dgate_up = dup.data(),
                                       .out = out.data(),
                                       .n_tokens = rows,
                                       .width = width});
  }
};

void check_activation(const Check& check, Figure& figure) {
  const Sizes7B s = sizes_of(check);
  const Gated cpu(kDifferent, s.intermediate);
  const DeviceArray<Bf16> up(cpu.up, s.tokens * 2 * s.intermediate);
  const auto out = nothing<Bf16>(s.tokens * s.intermediate);

  figure.value = 1e6 * check.timer.in_graph([&](int64_t, cudaStream_t stream) {
    kernels::activate_cuda<Bf16>(
        {.up = up.get(), .out = out.get(), .n_rows = s.tokens, .width = s.intermediate}, stream);
  });

  figure.roofline = check.roofline_us(up.size_bytes() + out.size_bytes());
  figure.compared = {compare(out, cpu.out, kAllowed)};
}

void check_activation_backward(const Check& check, Figure& figure) {
  const Sizes7B s = sizes_of(check);
  const Gated cpu(kDifferent, s.intermediate);
  const DeviceArray<Bf16> up(cpu.up, s.tokens * 2 * s.intermediate);
  const DeviceArray<Bf16> dout(cpu.dout, s.tokens * s.intermediate);
  const auto dup = nothing<Bf16>(s.tokens * 2 * s.intermediate);
  const auto out = nothing<Bf16>(s.tokens * s.intermediate);

  figure.value = 1e6 * check.timer.in_graph([&](int64_t, cudaStream_t stream) {
    kernels::activate_backward_cuda<Bf16>({.up = up.get(),
                                           .dout = dout.get(),
                                           .dup = dup.get(),
                                           .out = out.get(),
                                           .n_rows = s.tokens,
                                           .width = s.intermediate},
                                          stream);
  });

  figure.roofline = check.roofline_us(2 * (up.size_bytes() + out.size_bytes()));
  figure.compared = {compare(dup, cpu.dup, kAllowed), compare(out, cpu.out, kAllowed)};
}

/// Positions of all tokens are those of the few that the CPU computes.
void check_rotation(const Check& check, Figure& figure) {
  const Sizes7B s = sizes_of(check);
  const int64_t heads = s.n_heads + s.n_kv_heads, stride = (heads + s.n_kv_heads) * s.head_dim;
  const auto x = random_numbers<Bf16>(kDifferent * stride, 2, 19);
  std::vector<int32_t> positions(kDifferent);
  for (int64_t i = 0; i < kDifferent; ++i) positions[static_cast<size_t>(i)] = 3 * int32_t(i);
  std::vector<float> cosines(static_cast<size_t>(3 * kDifferent * s.head_dim / 2));
  std::vector<float> sines(cosines.size());
  kernels::fill_rope_table(cosines.data(), sines.data(), 3 * kDifferent, s.head_dim, 1e6);
  const DeviceArray<Bf16> gpu_x(x, s.tokens * stride);
  const auto y = nothing<Bf16>(s.tokens * heads * s.head_dim);
  const DeviceArray<int32_t> gpu_positions(positions, s.tokens);
  const DeviceArray<float> gpu_cosines(cosines), gpu_sines(sines);

  figure.value = 1e6 * check.timer.in_graph([&](int64_t, cudaStream_t stream) {
    kernels::rotate_heads_cuda<Bf16>({.heads = {.x = gpu_x.get(),
                                                .positions = gpu_positions.get(),
                                                .cosines = gpu_cosines.get(),
                                                .sines = gpu_sines.get(),
                                                .n_tokens = s.tokens,
                                                .n_heads = s.n_heads,
                                                .n_kv_heads = s.n_kv_heads,
                                                .head_dim = s.head_dim,
                                                .x_stride = stride},
                                      .y = y.get(),
                                      .y_stride = heads * s.head_dim},
                                     stream);
  });

  std::vector<float> all = as_floats(x), expected;
  kernels::rope<float>({.x = all.data(),
                        .positions = positions.data(),
                        .cosines = cosines.data(),
                        .sines = sines.data(),
                        .n_tokens = kDifferent,
                        .n_heads = heads,
                        .head_dim = s.head_dim,
                        .x_stride = stride});
  for (int64_t row = 0; row < kDifferent; ++row) {
    const auto begin = all.begin() + row * stride;
    expected.insert(expected.end(), begin, begin + heads * s.head_dim);
  }
  figure.roofline = check.roofline_us(2 * y.size_bytes());
  figure.compared = {compare(y, expected, kAllowed)};
}

/// The gradient of the embedding: every token of the batch adds its row to one of a table.
void check_embedding_gradient(const Check& check, Figure& figure) {
  const Sizes7B s = sizes_of(check);
  const int64_t per_target = check.is_small() ? 5 : 16, targets = s.tokens / per_target;
  const auto x = random_numbers<Bf16>(s.hidden, 2, 20);  // every token's row
  std::vector<int64_t> order, starts, rows;
  for (int64_t i = 0; i < s.tokens; ++i) order.push_back(i % per_target * targets + i / per_target);
  for (int64_t i = 0; i <= targets; ++i) starts.push_back(i * per_target);
  for (int64_t i = 0; i < targets; ++i) rows.push_back(targets - 1 - i);
  const DeviceArray<Bf16> gpu_x(x, s.tokens * s.hidden);
  const DeviceArray<int64_t> gpu_order(order), gpu_starts(starts), gpu_rows(rows);
  const auto out = nothing<float>(targets * s.hidden), zeros = nothing<float>(targets * s.hidden);

  figure.value = 1e6 * check.timer.in_graph_after(
                           [&](int64_t, cudaStream_t stream) {
                             copy_async(out.get(), zeros.get(), out.size_bytes(), stream);
                           },
                           [&](int64_t, cudaStream_t stream) {
                             kernels::add_rows_cuda<Bf16, float>({.x = gpu_x.get(),
                                                                  .order = gpu_order.get(),
                                                                  .starts = gpu_starts.get(),
                                                                  .targets = gpu_rows.get(),
                                                                  .out = out.get(),
                                                                  .n_segments = targets,
                                                                  .width = s.hidden},
                                                                 stream);
                           });

  std::vector<float> expected(static_cast<size_t>(s.hidden));
  for (int64_t i = 0; i < per_target; ++i) {
    for (size_t j = 0; j < expected.size(); ++j) expected[j] += kernels::to_float(x[j]);
  }
  figure.roofline = check.roofline_us(gpu_x.size_bytes() + 2 * out.size_bytes());
  figure.compared = {compare(out, expected, 0)};
}

void check_adamw(const Check& check, Figure& figure) {
  const Sizes7B s = sizes_of(check);
  const int64_t different = std::min<int64_t>(s.parameters, 1000);
  std::vector<float> p = random_numbers<float>(different, 1, 21);
  std::vector<float> m = random_numbers<float>(different, 1, 22), v = m;
  for (float& x : v) x = x * x;
  const std::vector<float> g = random_numbers<float>(different, 1, 23);
  const DeviceArray<float> gpu_p(p, s.parameters), gpu_g(g, s.parameters), gpu_m(m, s.parameters),
      gpu_v(v, s.parameters), old_p(p, s.parameters), old_m(m, s.parameters),
      old_v(v, s.parameters);
  const auto stored = nothing<Bf16>(s.parameters);
  const kernels::AdamWCoefficients<float> coefficients{.gradient_scale = 0.5F,
                                                       .beta1 = 0.9F,
                                                       .beta2 = 0.95F,
                                                       .lr = 0.1F,
                                                       .decay = 0.1F,
                                                       .correction1 = 0.1F,
                                                       .root_correction2 = 0.2F,
                                                       .eps = 1e-8F};

  figure.value = 1e6 * check.timer.in_graph_after(
                           [&](int64_t, cudaStream_t stream) {
                             copy_async(gpu_p.get(), old_p.get(), gpu_p.size_bytes(), stream);
                             copy_async(gpu_m.get(), old_m.get(), gpu_m.size_bytes(), stream);
                             copy_async(gpu_v.get(), old_v.get(), gpu_v.size_bytes(), stream);
                           },
                           [&](int64_t, cudaStream_t stream) {
                             kernels::adamw_cuda<float, float>({.p = gpu_p.get(),
                                                                .g = gpu_g.get(),
                                                                .m = gpu_m.get(),
                                                                .v = gpu_v.get(),
                                                                .stored = stored.get(),
                                                                .n = s.parameters,
                                                                .coefficients = coefficients},
                                                               stream);
                           });

  kernels::adamw_update(p.data(), g.data(), m.data(), v.data(), different, coefficients);
  figure.roofline = check.roofline_us(7 * gpu_p.size_bytes() + stored.size_bytes());
  figure.compared = {compare(gpu_p, p, 0), compare(gpu_m, m, 0), compare(gpu_v, v, 0)};
}

}  // namespace

void check_layers(Check& check) {
  const Sizes7B s = sizes_of(check);
  const auto measure = [&](const char* name, nlohmann::ordered_json shape,
                           void (*work)(const Check&, Figure&)) {
    check.figures.measure({.name = name, .shape = std::move(shape), .unit = "us"},
                          [&](Figure& figure) { work(check, figure); });
  };
  const nlohmann::ordered_json rows = {{"tokens", s.tokens}, {"width", s.hidden}, {"type", "bf16"}};
  const nlohmann::ordered_json hidden = {
      {"tokens", s.tokens}, {"width", s.intermediate}, {"type", "bf16"}};
  measure("norm_rows", rows, check_norm);
  measure("norm_rows_backward", rows, check_norm_backward);
  measure("activate", hidden, check_activation);
  measure("activate_backward", hidden, check_activation_backward);
  measure("rotate_heads",
          {{"tokens", s.tokens}, {"heads", s.n_heads + s.n_kv_heads}, {"head_dim", s.head_dim}},
          check_rotation);
  measure("embedding_gradient", rows, check_embedding_gradient);
  measure("adamw", {{"parameters", s.parameters}, {"type", "fp32"}}, check_adamw);
}

}  // namespace orrery::gpu_check
