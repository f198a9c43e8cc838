// The inner product of everything here: R rows of a times P panels of columns of b, summed over k
// in order. A panel is 64 bytes wide, two registers of 32 bytes or one of 64. With R = 6, P = 1 it
// keeps 12 of AVX2's 16 registers busy with sums; with R = 8, P = 3 24 of AVX-512's 32.
#pragma once

#include "target/simd.h"

namespace orrery::kernels::ORRERY_KERNEL_TARGET {

/// Columns of one panel, and the registers that hold them.
template <class T>
inline constexpr int64_t kPanel = 64 / static_cast<int64_t>(sizeof(T));
inline constexpr int kPanelVecs = 64 / ORRERY_VECTOR_BYTES;

/// Rows of a full tile, and panels beside each other where there are enough.
inline constexpr int kTileRows = ORRERY_VECTOR_BYTES == 64 ? 8 : 6;
inline constexpr int kTilePanels = ORRERY_VECTOR_BYTES == 64 ? 3 : 1;

/// Panels at a time for fewer rows: one or two alone would wait for their own sums.
template <int R>
inline constexpr int kPanelsBeside = ORRERY_VECTOR_BYTES == 64
                                         ? (R <= 2 ? 8 : (R <= 4 ? 4 : kTilePanels))
                                         : (R == 1 ? 4 : (R <= 3 ? 2 : 1));

template <class T, int P>
struct TileInput {
  const T* a;  // rows a_stride apart, k contiguous numbers each
  int64_t a_stride;
  const T* b[P];  // panels: k rows b_stride apart, each kPanel numbers
  int64_t b_stride;
  int64_t k;
  int64_t ahead = 0;  // from a number of b to the one that is asked for meanwhile
};

/// Whether numbers further on are asked for meanwhile: worth it where b comes from memory.
enum class Prefetch { kNo, kAhead };

/// c[r][kPanelVecs p + i] += sum over k of a[r][k] * b[p][k][register i].
template <class T, int R, int P, Prefetch kPrefetch = Prefetch::kNo>
ORRERY_INLINE void multiply_tile(const TileInput<T, P>& in, Vec<T> (&c)[R][kPanelVecs * P]) {
  for (int64_t k = 0; k < in.k; ++k) {
    Vec<T> b[kPanelVecs * P];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      const T* row = in.b[p] + k * in.b_stride;
#pragma GCC unroll 2
      for (int i = 0; i < kPanelVecs; ++i) b[kPanelVecs * p + i] = load(row + i * kLanes<T>);
      if constexpr (kPrefetch == Prefetch::kAhead) __builtin_prefetch(row + in.ahead, 0, 2);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Vec<T> a = splat(in.a[r * in.a_stride + k]);
#pragma GCC unroll 8
      for (int j = 0; j < kPanelVecs * P; ++j) c[r][j] += a * b[j];
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
    case 6:
      work.template operator()<6>();
      break;
    case 7:
      if constexpr (kTileRows > 6) work.template operator()<7>();
      break;
    default:
      if constexpr (kTileRows > 6) work.template operator()<8>();
      break;
  }
}

ORRERY_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
ORRERY_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
ORRERY_INLINE int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace orrery::kernels::ORRERY_KERNEL_TARGET
