// Large fp32 matrix products on processors with tiles of bf16 products (AMX). A number of 24 bits
// is the sum of three of 8 bits, exactly; of the nine partial products of such pieces the six
// largest are summed in fp32. What is left out is below 2^-24 of each product, as is the rounding
// of the sum: the precision is fp32's at up to 2.7 times the rate of its vector instructions (16
// times as many products an instruction cycle, six of them for one).
#pragma once

#include <cstdint>

namespace orrery::kernels {

/// One of the strides is 1.
struct StridedMatrix {
  const float* data = nullptr;
  int64_t row_stride = 0, column_stride = 1;
};

/// c = a b, or c += a b.
struct SplitGemmArgs {
  StridedMatrix a;     // [m, k]
  StridedMatrix b;     // [k, n]
  float* c = nullptr;  // [m, n], rows c_stride apart; does not overlap a or b
  int64_t m = 0, n = 0, k = 0;
  int64_t c_stride = 0;
  bool accumulate = false;
};

/// Whether this processor and this kernel of the operating system can. Asks the latter for the
/// state of the tiles once.
bool has_split_gemm();

/// An element is summed in an order that depends on k alone. Infinite inputs give NaN; numbers
/// below 2^-110 lose bits. Local; any thread. Needs has_split_gemm(). Throws std::bad_alloc.
void split_gemm(const SplitGemmArgs& args);

}  // namespace orrery::kernels
