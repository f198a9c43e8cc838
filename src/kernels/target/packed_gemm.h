// y = x W^T from packed panels: rows in chunks that stay in the cache while all panels pass.
#pragma once

#include "orrery/kernels/packed_gemm.h"
#include "target/tile.h"

namespace orrery::kernels::ORRERY_KERNEL_TARGET {

/// Rows of x that stay while the panels pass: 96 rows of 512 floats are 192 KiB.
inline constexpr int64_t kRowChunk = 96;

/// The last, partly filled register of a row. Not inlined: there would be hundreds of copies.
template <class T>
__attribute__((noinline)) void finish_tail(const PackedGemmArgs<T>& args, int64_t row_begin,
                                           int64_t column, int64_t count, const T* sums) {
  for (int64_t i = column; i < column + count; ++i) {
    T v = sums[i - column];
    if (args.bias != nullptr) v += args.bias[i];
    if (args.residual != nullptr) v += args.residual[row_begin + i];
    args.y[row_begin + i] = v;
  }
}

template <class T, int R, int P, Prefetch kPrefetch>
ORRERY_INLINE void gemm_tile(const PackedGemmArgs<T>& args, int64_t row, int64_t panel) {
  Vec<T> c[R][kPanelVecs * P] = {};
  TileInput<T, P> in{.a = args.x + row * args.x_stride,
                     .a_stride = args.x_stride,
                     .b = {},
                     .b_stride = kPanel<T>,
                     .k = args.n_in,
                     .ahead = P * args.n_in * kPanel<T>};  // the next tile follows this one
#pragma GCC unroll 8
  for (int p = 0; p < P; ++p) in.b[p] = args.packed + (panel + p) * kPanel<T> * args.n_in;
  multiply_tile<T, R, P, kPrefetch>(in, c);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const int64_t at = (row + r) * args.y_stride;
#pragma GCC unroll 8
    for (int j = 0; j < kPanelVecs * P; ++j) {
      const int64_t column = panel * kPanel<T> + j * kLanes<T>;
      const int64_t left = args.n_out - column;
      if (left >= kLanes<T>) {
        Vec<T> v = c[r][j];
        if (args.bias != nullptr) v += load(args.bias + column);
        if (args.residual != nullptr) v += load(args.residual + at + column);
        store<T>(args.y + at + column, v);
      } else if (left > 0) {
        T sums[kLanes<T>];
        store<T>(sums, c[r][j]);
        finish_tail(args, at, column, left, sums);
      }
    }
  }
}

/// P panels for all rows of a chunk: they stay in the L1 or L2 cache meanwhile.
template <class T, int P>
void gemm_panels(const PackedGemmArgs<T>& args, int64_t begin, int64_t end, int64_t panel) {
  int64_t row = begin;
  for (; row + kTileRows <= end; row += kTileRows) {
    if (row == begin) {
      gemm_tile<T, kTileRows, P, Prefetch::kAhead>(args, row, panel);
    } else {
      gemm_tile<T, kTileRows, P, Prefetch::kNo>(args, row, panel);
    }
  }
  if (row < end) {
    with_rows(end - row, [&]<int R>() { gemm_tile<T, R, P, Prefetch::kNo>(args, row, panel); });
  }
}

/// Fewer rows than a tile has: more panels at a time.
template <class T, int R>
void gemm_few_rows(const PackedGemmArgs<T>& args, int64_t row, int64_t n_panels) {
  constexpr int kMany = kPanelsBeside<R>;
  int64_t panel = 0;
  for (; panel + kMany <= n_panels; panel += kMany) {
    gemm_tile<T, R, kMany, Prefetch::kAhead>(args, row, panel);
  }
  if constexpr (kMany >= 4) {
    for (; panel + 2 <= n_panels; panel += 2) {
      gemm_tile<T, R, 2, Prefetch::kAhead>(args, row, panel);
    }
  }
  for (; panel < n_panels; ++panel) gemm_tile<T, R, 1, Prefetch::kAhead>(args, row, panel);
}

template <class T>
void packed_gemm(const PackedGemmArgs<T>& args) {
  const int64_t n_panels = (args.n_out + kPanel<T> - 1) / kPanel<T>;
  for (int64_t chunk = 0; chunk < args.n_rows; chunk += kRowChunk) {
    const int64_t end = smaller(args.n_rows, chunk + kRowChunk);
    if (end - chunk < kTileRows) {
      with_rows(end - chunk, [&]<int R>() { gemm_few_rows<T, R>(args, chunk, n_panels); });
      continue;
    }
    int64_t panel = 0;
    for (; panel + kTilePanels <= n_panels; panel += kTilePanels) {
      gemm_panels<T, kTilePanels>(args, chunk, end, panel);
    }
    for (; panel < n_panels; ++panel) gemm_panels<T, 1>(args, chunk, end, panel);
  }
}

}  // namespace orrery::kernels::ORRERY_KERNEL_TARGET
