#include "orrery/metrics/flops.h"

#include <algorithm>

#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/text.h"   // concat

namespace orrery::metrics {

namespace {

Flops natural(int64_t value, const char* what) {
  if (value < 0) {
    throw ConfigError("FLOPs cannot be counted for a negative size",
                      {.expected = base::concat(what, " of at least 0"),
                       .got = std::to_string(value),
                       .advice = "check the model's sizes"});
  }
  return static_cast<Flops>(value);
}

/// The sizes of a shape as counts, and the products that the formulas share.
struct Costs {
  explicit Costs(const FlopsShape& shape)
      : layers(natural(shape.n_layers, "n_layers")),
        hidden(natural(shape.hidden_size, "hidden_size")),
        // Query, key, value and output projection; gate, up and down projection.
        per_token_and_layer(8 * hidden * hidden +
                            6 * hidden * natural(shape.intermediate_size, "intermediate_size")),
        per_token_head(4 * natural(shape.vocab_size, "vocab_size") * hidden) {}

  /// `queries` tokens that each attend to `keys` tokens: scores and weighted values.
  Flops attention(Flops queries, Flops keys) const { return 4 * queries * keys * hidden; }
  Flops tokens(Flops n) const { return n * (layers * per_token_and_layer + per_token_head); }

  Flops layers;
  Flops hidden;
  Flops per_token_and_layer;
  Flops per_token_head;
};

}  // namespace

Flops forward_flops(const FlopsShape& shape, std::span<const int64_t> seqlens) {
  const Costs costs(shape);
  Flops total = 0;
  for (int64_t length : seqlens) {
    const Flops n = natural(length, "a sequence length");
    total += costs.tokens(n) + costs.layers * costs.attention(n, n);
  }
  return total;
}

Flops train_flops(const FlopsShape& shape, std::span<const int64_t> seqlens, int64_t n_recomputed) {
  const Flops forward = forward_flops(shape, seqlens);
  if (shape.n_layers == 0) return 3 * forward;
  return 3 * forward + forward * natural(n_recomputed, "layers that are recomputed") /
                           static_cast<Flops>(shape.n_layers);
}

Flops generate_flops(const FlopsShape& shape, std::span<const int64_t> prompt_lens,
                     int64_t n_new_tokens) {
  const Costs costs(shape);
  const Flops steps = natural(n_new_tokens, "n_new_tokens");
  Flops total = forward_flops(shape, prompt_lens);
  for (int64_t length : prompt_lens) {
    // Step i (from 1) has one query over length + i keys; the sum over i is closed.
    const Flops keys = steps * static_cast<Flops>(length) + steps * (steps + 1) / 2;
    total += costs.tokens(steps) + costs.layers * costs.attention(1, keys);
  }
  return total;
}

}  // namespace orrery::metrics
