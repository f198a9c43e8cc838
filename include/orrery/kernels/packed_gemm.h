// y = x W^T for few rows of x (decoding): the library's matmuls reach a third of the machine
// there. W is stored once in panels of 2 vector registers of outputs, [panel][in][panel width], so
// that it streams through memory in order. Each number is summed over `in` in order, whatever the
// number of rows: a row's result does not depend on the rows beside it.
#pragma once

#include <cstdint>

namespace orrery::kernels {

/// Outputs in a panel: 16 float, 8 double.
template <class T>
constexpr int64_t panel_width() {
  return 64 / static_cast<int64_t>(sizeof(T));
}
/// Numbers that a packed [n_out, n_in] weight takes: n_out rounded up to panels.
template <class T>
constexpr int64_t packed_size(int64_t n_out, int64_t n_in) {
  return (n_out + panel_width<T>() - 1) / panel_width<T>() * panel_width<T>() * n_in;
}

/// weight [n_out, n_in] row-major -> packed [packed_size]. Padding is zero. Local; any thread.
template <class T>
void pack_weight(const T* weight, int64_t n_out, int64_t n_in, T* packed);

template <class T>
struct PackedGemmArgs {
  const T* x = nullptr;         // [n_rows, n_in], rows x_stride apart
  const T* packed = nullptr;    // of pack_weight
  const T* bias = nullptr;      // [n_out] or null
  const T* residual = nullptr;  // [n_rows, n_out], rows y_stride apart, added; may be y; or null
  T* y = nullptr;               // [n_rows, n_out], rows y_stride apart
  int64_t n_rows = 0, n_in = 0, n_out = 0;
  int64_t x_stride = 0, y_stride = 0;
};

/// Allocates nothing.
template <class T>
void packed_gemm(const PackedGemmArgs<T>& args);

}  // namespace orrery::kernels
