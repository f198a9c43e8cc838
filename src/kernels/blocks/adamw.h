// Every number on its own; products and sums are not fused (CMakeLists.txt), as on the CPU.
#pragma once

#include <cmath>

#include "blocks/block.h"
#include "orrery/kernels/adamw.h"

namespace orrery::kernels::blocks {

template <class T, class G, class M>
struct AdamWProgram {
  using Args = AdamWArgs<T, G, M>;
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
        const T m = c.beta1 * Arithmetic<M>::from(args.m[i]) + (1 - c.beta1) * gradient;
        const T v = c.beta2 * Arithmetic<M>::from(args.v[i]) + (1 - c.beta2) * gradient * gradient;
        const T direction = m / c.correction1 / (std::sqrt(v) / c.root_correction2 + c.eps);
        const T p = args.p[i] - c.lr * (c.decay * args.p[i] + direction);
        store(args, i, m, v);
        args.p[i] = p;
        if (args.stored != nullptr) args.stored[i] = to_bf16(static_cast<float>(p));
      }
    });
  }

 private:
  ORRERY_BLOCK static void store(const AdamWArgs<T, G, T>& args, int64_t i, T m, T v) {
    args.m[i] = m;
    args.v[i] = v;
  }
  ORRERY_BLOCK static void store(const AdamWArgs<T, G, Bf16>& args, int64_t i, T m, T v) {
    const uint32_t random = args.rounding.bits(i);
    args.m[i] = to_bf16_stochastically(m, random);
    args.v[i] = to_bf16_stochastically(v, random >> 16);
  }
};

}  // namespace orrery::kernels::blocks
