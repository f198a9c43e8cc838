// Compiled with AMX (src/kernels/CMakeLists.txt); reached only on processors that have it.
//
// Both matrices are packed into panels of 32 rows of a, or columns of b: for every 32 of k six
// tiles of 1 KiB, two for each piece of the numbers. A tile of a has 16 rows of 32 k; one of b has
// 16 rows of a pair of k each, for 16 columns. Either is a matrix [16, 16] of pairs of bf16, the
// pairs along k, and one is the transpose of the other.
#include "amx_gemm.h"

#include <immintrin.h>

#include <algorithm>
#include <memory>
#include <new>

namespace orrery::kernels::amx {

namespace {

constexpr int64_t kPanel = 32;  // rows of a or columns of b
constexpr int64_t kStep = 32;   // of k in a tile
constexpr int64_t kPieces = 3;
constexpr int64_t kTileNumbers = 512;                         // bf16
constexpr int64_t kStepNumbers = 2 * kPieces * kTileNumbers;  // of a panel
constexpr int64_t kDepth = 768;                               // of k that is packed at a time
/// Numbers of b that are packed at a time, with their pieces: 1.2 MB, in the L2 cache.
constexpr int64_t kBNumbers = 384 * 512;
constexpr int64_t kStepsInL1 = 4;  // of a panel of a: 24 KiB

struct FreeAligned {
  void operator()(void* p) const { ::operator delete (p, std::align_val_t{64}); }
};

template <class T>
std::unique_ptr<T, FreeAligned> aligned(int64_t n) {
  return std::unique_ptr<T, FreeAligned>(
      static_cast<T*>(::operator new (static_cast<size_t>(n) * sizeof(T), std::align_val_t{64})));
}

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

constexpr uint32_t kUpperHalf = 0xffff0000;  // the bf16 that a number begins with

/// Pairs of bf16, the even ones in the lower half of a lane, from what numbers begin with.
__m512i pairs(__m512i even, __m512i odd) {
  return _mm512_or_si512(_mm512_srli_epi32(even, 16),
                         _mm512_and_si512(odd, _mm512_set1_epi32(int(kUpperHalf))));
}

/// What is left of x without the piece that `bits` begins with, exactly.
__m512 rest(__m512 x, __m512i bits) {
  const __m512i piece = _mm512_and_si512(bits, _mm512_set1_epi32(int(kUpperHalf)));
  return _mm512_sub_ps(x, _mm512_castsi512_ps(piece));
}

/// The three pieces of 32 numbers as pairs, to `tile` and the tiles of the other pieces. The first
/// is cut, so that no NaN is lost; the second is rounded, so that what is left is as small as can
/// be and of either sign.
void store_pieces(__m512 even, __m512 odd, uint16_t* tile) {
  const __m512i half = _mm512_set1_epi32(0x8000);
  const auto cut = [](__m512 x) { return _mm512_castps_si512(x); };
  const auto nearest = [&](__m512 x) { return _mm512_add_epi32(_mm512_castps_si512(x), half); };
  const auto take = [&](auto bits_of) {
    const __m512i even_bits = bits_of(even), odd_bits = bits_of(odd);
    even = rest(even, even_bits);
    odd = rest(odd, odd_bits);
    _mm512_store_si512(tile, pairs(even_bits, odd_bits));
    tile += 2 * kTileNumbers;
  };
  take(cut);
  take(nearest);
  take(cut);
}

/// A matrix of 16 x 16 lanes in memory becomes its transpose.
void transpose(uint16_t* tile) {
  auto* rows = reinterpret_cast<__m512i*>(tile);
  __m512i r[16], t[16];
  for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(rows + i);
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // r[4 g + c]: columns c, c + 4, c + 8, c + 12 of the rows 4 g ... 4 g + 3
  for (int c = 0; c < 4; ++c) {
    const __m512i a = _mm512_shuffle_i32x4(r[c], r[4 + c], 0x88);  // columns c, c + 8
    const __m512i b = _mm512_shuffle_i32x4(r[c], r[4 + c], 0xdd);  // c + 4, c + 12
    const __m512i d =
        _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0x88);  // the same of the later rows
    const __m512i e = _mm512_shuffle_i32x4(r[8 + c], r[12 + c], 0xdd);
    _mm512_store_si512(rows + c, _mm512_shuffle_i32x4(a, d, 0x88));
    _mm512_store_si512(rows + c + 8, _mm512_shuffle_i32x4(a, d, 0xdd));
    _mm512_store_si512(rows + c + 4, _mm512_shuffle_i32x4(b, e, 0x88));
    _mm512_store_si512(rows + c + 12, _mm512_shuffle_i32x4(b, e, 0xdd));
  }
}

__mmask16 first(int64_t n) {
  return static_cast<__mmask16>((1u << std::clamp<int64_t>(n, 0, 16)) - 1);
}

/// 16 rows of 32 numbers along k, which lie beside each other: [row][pair].
void pack_along(const float* from, int64_t stride, int64_t rows, int64_t depth, uint16_t* tile) {
  // Even and odd k of 32 numbers.
  const __m512i evens = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
  const __mmask16 low_mask = first(depth), high_mask = first(depth - 16);
  for (int64_t row = 0; row < 16; ++row) {
    const __mmask16 keep = row < rows ? 0xffff : 0;
    const float* at = from + (row < rows ? row * stride : 0);
    const __m512 low = _mm512_maskz_loadu_ps(low_mask & keep, at);
    const __m512 high = _mm512_maskz_loadu_ps(high_mask & keep, at + 16);
    const __m512 even = _mm512_permutex2var_ps(low, evens, high);
    const __m512 odd = _mm512_permutex2var_ps(low, odds, high);
    store_pieces(even, odd, tile + row * 32);
  }
}

/// 32 rows of k of 16 numbers each: [pair][column].
void pack_across(const float* from, int64_t stride, int64_t columns, int64_t depth,
                 uint16_t* tile) {
  const __mmask16 mask = first(columns);
  const auto row_of = [&](int64_t k) {
    if (k >= depth) return _mm512_setzero_ps();
    return _mm512_maskz_loadu_ps(mask, from + k * stride);
  };
  for (int64_t pair = 0; pair < 16; ++pair) {
    // Rows far apart are not foreseen by the processor: ask for those of the next tile.
    const float* ahead = from + std::min(2 * pair + kStep, depth - 2) * stride;
    _mm_prefetch(ahead, _MM_HINT_T0);
    _mm_prefetch(ahead + stride, _MM_HINT_T0);
    const __m512 even = row_of(2 * pair), odd = row_of(2 * pair + 1);
    store_pieces(even, odd, tile + pair * 32);
  }
}

/// Which of its two forms a tile has: rows of the panel along its rows (a), or pairs of k (b).
enum class Form { kA, kB };

/// `lines` rows of a or columns of b, up to a panel, `line_stride` apart, over `depth` of k,
/// `k_stride` apart. What is missing of whole tiles is zero.
template <Form kForm>
void pack_panel(const float* from, int64_t line_stride, int64_t k_stride, int64_t lines,
                int64_t depth, uint16_t* panel) {
  const bool is_along = k_stride == 1;
  for (int64_t k = 0; k < depth; k += kStep, panel += kStepNumbers) {
    for (int64_t half = 0; half < 2; ++half) {
      uint16_t* tile = panel + half * kTileNumbers;
      const int64_t n_lines = std::clamp<int64_t>(lines - 16 * half, 0, 16);
      const float* at = from + (n_lines > 0 ? 16 * half * line_stride : 0) + k * k_stride;
      if (is_along) {
        pack_along(at, line_stride, n_lines, depth - k, tile);
      } else {
        pack_across(at, k_stride, n_lines, depth - k, tile);
      }
      if (is_along == (kForm == Form::kA)) continue;
      for (int64_t piece = 0; piece < kPieces; ++piece) transpose(tile + piece * 2 * kTileNumbers);
    }
  }
}

/// Eight tiles of 16 rows of 64 bytes.
void configure_tiles() {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } configuration;
  _tile_loadconfig(&configuration);
}

/// c [32, 32] += the products of two panels over some steps; from zero if wanted. Tiles 0 to 3 hold
/// c, 4 and 5 pieces of a, 6 and 7 pieces of b.
void multiply_panels(const uint16_t* a, const uint16_t* b, int64_t n_steps, bool from_zero,
                     float* c) {
  constexpr size_t bytes = kPanel * sizeof(float);
  float* lower = c + 16 * kPanel;
  if (from_zero) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, c, bytes);
    _tile_loadd(1, c + 16, bytes);
    _tile_loadd(2, lower, bytes);
    _tile_loadd(3, lower + 16, bytes);
  }
#define ORRERY_LOAD_A(piece)                            \
  _tile_loadd(4, a + (2 * (piece)) * kTileNumbers, 64); \
  _tile_loadd(5, a + (2 * (piece) + 1) * kTileNumbers, 64)
#define ORRERY_LOAD_B(piece)                            \
  _tile_loadd(6, b + (2 * (piece)) * kTileNumbers, 64); \
  _tile_loadd(7, b + (2 * (piece) + 1) * kTileNumbers, 64)
#define ORRERY_MULTIPLY()  \
  _tile_dpbf16ps(0, 4, 6); \
  _tile_dpbf16ps(1, 4, 7); \
  _tile_dpbf16ps(2, 5, 6); \
  _tile_dpbf16ps(3, 5, 7)
  for (int64_t step = 0; step < n_steps; ++step, a += kStepNumbers, b += kStepNumbers) {
    // Each product changes one operand, so that few tiles are loaded.
    ORRERY_LOAD_A(0);
    ORRERY_LOAD_B(2);
    ORRERY_MULTIPLY();
    ORRERY_LOAD_B(1);
    ORRERY_MULTIPLY();
    ORRERY_LOAD_A(1);
    ORRERY_MULTIPLY();
    ORRERY_LOAD_B(0);
    ORRERY_MULTIPLY();
    ORRERY_LOAD_A(2);
    ORRERY_MULTIPLY();
    ORRERY_LOAD_A(0);
    ORRERY_MULTIPLY();
  }
#undef ORRERY_LOAD_A
#undef ORRERY_LOAD_B
#undef ORRERY_MULTIPLY
  _tile_stored(0, c, bytes);
  _tile_stored(1, c + 16, bytes);
  _tile_stored(2, lower, bytes);
  _tile_stored(3, lower + 16, bytes);
}

/// The part of a matrix that a block of 32 x 32 covers.
struct Part {
  float* c;
  int64_t stride, rows, columns;

  __mmask16 mask(int64_t half) const { return first(columns - 16 * half); }
};

/// Between c and blocks of its own: rows of a large matrix are often a multiple of 4 KiB apart and
/// would all want the same lines of the cache.
void load_block(const Part& part, float* block) {
  for (int64_t row = 0; row < std::min(part.rows, kPanel); ++row) {
    for (int64_t half = 0; half < 2; ++half) {
      const float* from = part.c + row * part.stride + 16 * half;
      _mm512_store_ps(block + row * kPanel + 16 * half,
                      _mm512_maskz_loadu_ps(part.mask(half), from));
    }
  }
}
void store_block(const float* block, const Part& part) {
  for (int64_t row = 0; row < std::min(part.rows, kPanel); ++row) {
    for (int64_t half = 0; half < 2; ++half) {
      _mm512_mask_storeu_ps(part.c + row * part.stride + 16 * half, part.mask(half),
                            _mm512_load_ps(block + row * kPanel + 16 * half));
    }
  }
}

}  // namespace

void gemm(const SplitGemmArgs& args) {
  if (args.m <= 0 || args.n <= 0) return;
  // Equal parts of k: each costs a pass over c.
  const int64_t n_parts = std::max<int64_t>(1, (args.k + kDepth - 1) / kDepth);
  const int64_t depth = std::max(kStep, round_up((args.k + n_parts - 1) / n_parts, kStep));
  const int64_t width = std::min(kBNumbers / depth / kPanel * kPanel, round_up(args.n, kPanel));
  const int64_t panel_numbers = depth / kStep * kStepNumbers;
  const auto a_panel = aligned<uint16_t>(panel_numbers);
  const auto b_panels = aligned<uint16_t>(width / kPanel * panel_numbers);
  const auto c_blocks = aligned<float>(width * kPanel);
  configure_tiles();
  for (int64_t k = 0; k < std::max<int64_t>(args.k, 1); k += depth) {
    const int64_t here = std::min(depth, args.k - k);
    const int64_t n_steps = round_up(here, kStep) / kStep;
    const bool from_zero = k == 0 && !args.accumulate;
    for (int64_t column = 0; column < args.n; column += width) {
      const int64_t end = std::min(args.n, column + width);
      for (int64_t j = column; j < end; j += kPanel) {
        pack_panel<Form::kB>(args.b.data + k * args.b.row_stride + j * args.b.column_stride,
                             args.b.column_stride, args.b.row_stride, end - j, here,
                             b_panels.get() + (j - column) / kPanel * panel_numbers);
      }
      for (int64_t i = 0; i < args.m; i += kPanel) {
        pack_panel<Form::kA>(args.a.data + i * args.a.row_stride + k * args.a.column_stride,
                             args.a.row_stride, args.a.column_stride, args.m - i, here,
                             a_panel.get());
        const auto part = [&](int64_t j) {
          return Part{args.c + i * args.c_stride + j, args.c_stride, args.m - i, end - j};
        };
        const auto for_blocks = [&](const auto& work) {
          for (int64_t j = column; j < end; j += kPanel) {
            work(j, (j - column) / kPanel, c_blocks.get() + (j - column) * kPanel);
          }
        };
        if (!from_zero) {
          for_blocks([&](int64_t j, int64_t, float* block) { load_block(part(j), block); });
        }
        // A part of the panel of a stays in the L1 cache while all panels of b pass.
        for (int64_t step = 0; step < std::max<int64_t>(n_steps, 1); step += kStepsInL1) {
          for_blocks([&](int64_t, int64_t panel, float* block) {
            multiply_panels(a_panel.get() + step * kStepNumbers,
                            b_panels.get() + panel * panel_numbers + step * kStepNumbers,
                            std::min(kStepsInL1, n_steps - step), from_zero && step == 0, block);
          });
        }
        for_blocks([&](int64_t j, int64_t, const float* block) { store_block(block, part(j)); });
      }
    }
  }
  _tile_release();
}

}  // namespace orrery::kernels::amx
