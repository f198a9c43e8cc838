// Kernels that only move or prepare numbers: weight panels, page slots, the rope table.
#include <algorithm>  // fill
#include <cmath>      // cos, pow, sin

#include "orrery/kernels/decode_attention.h"
#include "orrery/kernels/packed_gemm.h"
#include "orrery/kernels/rope.h"

namespace orrery::kernels {

template <class T>
void pack_weight(const T* weight, int64_t n_out, int64_t n_in, T* packed) {
  constexpr int64_t kWidth = panel_width<T>();
  for (int64_t first = 0; first < n_out; first += kWidth) {
    T* panel = packed + first * n_in;
    const int64_t count = std::min(kWidth, n_out - first);
    const T* rows = weight + first * n_in;
    for (int64_t in = 0; in < n_in; ++in) {
      for (int64_t j = 0; j < count; ++j) panel[in * kWidth + j] = rows[j * n_in + in];
      for (int64_t j = count; j < kWidth; ++j) panel[in * kWidth + j] = T(0);
    }
  }
}

template <class T>
void write_page_slot(const PageWriteArgs<T>& args) {
  const int64_t width = padded_head_dim(args.head_dim);
  for (int64_t head = 0; head < args.n_kv_heads; ++head) {
    T* keys = args.page + head * 2 * kPageTokens * width;
    T* values = keys + kPageTokens * width + args.slot * width;
    const T* k = args.k + head * args.head_dim;
    const T* v = args.v + head * args.head_dim;
    for (int64_t d = 0; d < args.head_dim; ++d) keys[d * kPageTokens + args.slot] = k[d];
    for (int64_t d = 0; d < args.head_dim; ++d) values[d] = v[d];
  }
}

int64_t decode_attention_scratch(int64_t n_heads, int64_t n_kv_heads, int64_t /*head_dim*/,
                                 int64_t max_context) {
  const int64_t pages = (max_context + kPageTokens - 1) / kPageTokens;
  return n_heads / n_kv_heads * pages * kPageTokens;
}

template <class T>
void fill_rope_table(T* cosines, T* sines, int64_t n_positions, int64_t head_dim, double theta) {
  const int64_t half = head_dim / 2;
  for (int64_t position = 0; position < n_positions; ++position) {
    for (int64_t d = 0; d < half; ++d) {
      const double frequency =
          std::pow(theta, -2.0 * static_cast<double>(d) / static_cast<double>(head_dim));
      const double angle = static_cast<double>(position) * frequency;
      cosines[position * half + d] = static_cast<T>(std::cos(angle));
      sines[position * half + d] = static_cast<T>(std::sin(angle));
    }
  }
}

template void pack_weight<float>(const float*, int64_t, int64_t, float*);
template void pack_weight<double>(const double*, int64_t, int64_t, double*);
template void write_page_slot<float>(const PageWriteArgs<float>&);
template void write_page_slot<double>(const PageWriteArgs<double>&);
template void fill_rope_table<float>(float*, float*, int64_t, int64_t, double);
template void fill_rope_table<double>(double*, double*, int64_t, int64_t, double);

}  // namespace orrery::kernels
