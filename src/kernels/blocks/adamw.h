// Every number on its own; products and sums are not fused (CMakeLists.txt), as on the CPU.
#pragma once

#include <cmath>

#include "blocks/block.h"
#include "orrery/kernels/adamw.h"

namespace orrery::kernels::blocks {

template <class T, class G>
struct AdamWProgram {
  using Args = AdamWArgs<T, G>;
  static constexpr int kThreads = 256;
  static constexpr int64_t kNumbers = 1024;  // of a block
  struct Shared {};

  static int64_t n_blocks(const Args& args) { return ceil_div(args.n, kNumbers); }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared&) {
    const AdamWCoefficients<T>& c = args.coefficients;
    const int64_t begin = block.index() * kNumbers, end = smaller_of(begin + kNumbers, args.n);
    block.each([&](int thread) {
      for (int64_t i = begin + thread; i < end; i += kThreads) {
        const T gradient = Arithmetic<G>::from(args.g[i]) * c.gradient_scale;
        const T m = c.beta1 * args.m[i] + (1 - c.beta1) * gradient;
        const T v = c.beta2 * args.v[i] + (1 - c.beta2) * gradient * gradient;
        const T direction = m / c.correction1 / (std::sqrt(v) / c.root_correction2 + c.eps);
        const T p = args.p[i] - c.lr * (c.decay * args.p[i] + direction);
        args.m[i] = m;
        args.v[i] = v;
        args.p[i] = p;
        if (args.stored != nullptr) args.stored[i] = to_bf16(static_cast<float>(p));
      }
    });
  }
};

}  // namespace orrery::kernels::blocks
