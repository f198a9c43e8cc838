// The inner product of everything here: R rows of a times 2 P vectors of columns of b, summed over
// k in order. With R = 6, P = 1 it keeps 12 of the 16 registers busy with sums.
#pragma once

#include "target/simd.h"

namespace orrery::kernels::ORRERY_KERNEL_TARGET {

/// Columns of one panel: two registers.
template <class T>
inline constexpr int64_t kPanel = 2 * kLanes<T>;

/// Rows of a full tile.
inline constexpr int kTileRows = 6;

template <class T, int P>
struct TileInput {
  const T* a;  // rows a_stride apart, k contiguous numbers each
  int64_t a_stride;
  const T* b[P];  // panels: k rows b_stride apart, each kPanel numbers
  int64_t b_stride;
  int64_t k;
};

/// c[r][2 p + i] += sum over k of a[r][k] * b[p][k][register i].
template <class T, int R, int P>
ORRERY_INLINE void multiply_tile(const TileInput<T, P>& in, Vec<T> (&c)[R][2 * P]) {
  for (int64_t k = 0; k < in.k; ++k) {
    Vec<T> b[2 * P];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      b[2 * p] = load(in.b[p] + k * in.b_stride);
      b[2 * p + 1] = load(in.b[p] + k * in.b_stride + kLanes<T>);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Vec<T> a = splat(in.a[r * in.a_stride + k]);
#pragma GCC unroll 8
      for (int j = 0; j < 2 * P; ++j) c[r][j] += a * b[j];
    }
  }
}

/// Calls work.template operator()<R>() with R = rows, 1..kTileRows.
template <class Work>
ORRERY_INLINE void with_rows(int64_t rows, Work&& work) {
  switch (rows) {
    case 1:
      work.template operator()<1>();
      break;
    case 2:
      work.template operator()<2>();
      break;
    case 3:
      work.template operator()<3>();
      break;
    case 4:
      work.template operator()<4>();
      break;
    case 5:
      work.template operator()<5>();
      break;
    default:
      work.template operator()<6>();
      break;
  }
}

ORRERY_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
ORRERY_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
ORRERY_INLINE int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace orrery::kernels::ORRERY_KERNEL_TARGET
