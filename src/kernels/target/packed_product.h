// y = x W^T from packed panels: rows in chunks that stay in the cache while all panels pass.
#pragma once

#include "orrery/kernels/packed_product.h"
#include "target/tile.h"

namespace orrery::kernels::ORRERY_KERNEL_TARGET {

/// Rows of x that stay while the panels pass: 96 rows of 512 floats are 192 KiB.
inline constexpr int64_t kRowChunk = 96;

template <class T, int R, int P>
ORRERY_INLINE void product_tile(const PackedProductArgs<T>& args, int64_t row, int64_t panel) {
  Vec<T> c[R][2 * P] = {};
  TileInput<T, P> in{.a = args.x + row * args.x_stride,
                     .a_stride = args.x_stride,
                     .b = {},
                     .b_stride = kPanel<T>,
                     .k = args.n_in};
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) in.b[p] = args.packed + (panel + p) * kPanel<T> * args.n_in;
  multiply_tile<T, R, P>(in, c);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const int64_t at = (row + r) * args.y_stride;
#pragma GCC unroll 8
    for (int j = 0; j < 2 * P; ++j) {
      const int64_t column = panel * kPanel<T> + j * kLanes<T>;
      const int64_t left = args.n_out - column;
      if (left >= kLanes<T>) {
        Vec<T> v = c[r][j];
        if (args.bias != nullptr) v += load(args.bias + column);
        if (args.residual != nullptr) v += load(args.residual + at + column);
        store<T>(args.y + at + column, v);
      } else {
        for (int64_t i = 0; i < left; ++i) {
          T v = c[r][j][i];
          if (args.bias != nullptr) v += args.bias[column + i];
          if (args.residual != nullptr) v += args.residual[at + column + i];
          args.y[at + column + i] = v;
        }
      }
    }
  }
}

/// All panels for R rows, P at a time: one or two rows alone would wait for their own sums.
template <class T, int R, int P>
void product_rows(const PackedProductArgs<T>& args, int64_t row, int64_t begin, int64_t end) {
  int64_t panel = begin;
  for (; panel + P <= end; panel += P) product_tile<T, R, P>(args, row, panel);
  for (; panel < end; ++panel) product_tile<T, R, 1>(args, row, panel);
}

template <class T>
void packed_product(const PackedProductArgs<T>& args) {
  const int64_t n_panels = (args.n_out + kPanel<T> - 1) / kPanel<T>;
  for (int64_t chunk = 0; chunk < args.n_rows; chunk += kRowChunk) {
    const int64_t end = smaller(args.n_rows, chunk + kRowChunk);
    if (end - chunk < kTileRows) {
      with_rows(end - chunk, [&]<int R>() {
        constexpr int kPanels = R == 1 ? 4 : (R <= 3 ? 2 : 1);
        product_rows<T, R, kPanels>(args, chunk, 0, n_panels);
      });
      continue;
    }
    for (int64_t panel = 0; panel < n_panels; ++panel) {
      int64_t row = chunk;
      for (; row + kTileRows <= end; row += kTileRows) {
        product_rows<T, kTileRows, 1>(args, row, panel, panel + 1);
      }
      if (row < end) {
        with_rows(end - row, [&]<int R>() { product_rows<T, R, 1>(args, row, panel, panel + 1); });
      }
    }
  }
}

}  // namespace orrery::kernels::ORRERY_KERNEL_TARGET
