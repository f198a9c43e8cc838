// One block per sequence. The recurrence A_t = delta_t + decay A_(t+1) is a chain of affine maps,
// and those compose associatively: a chunk of kThreads actions is solved by doubling in log2 steps,
// chunks follow one another from the end.
//
//   thread k of a chunk holds action `end - 1 - k`; after the step of distance s its value is the
//   sum over the 2 s actions from its own on, towards the end of the chunk
#pragma once

#include "blocks/block.h"
#include "orrery/kernels/gae.h"

namespace orrery::kernels::blocks {

template <class T>
struct GaeProgram {
  using Args = GaeArgs<T>;
  static constexpr int kThreads = 128;
  struct Shared {
    T sums[2][kThreads];  // the steps of doubling read one and write the other
  };

  static int64_t n_blocks(const Args& args) { return args.n_sequences; }

  template <class Block>
  ORRERY_BLOCK static void run(Block& block, const Args& args, Shared& shared) {
    const int64_t s = block.index();
    const int64_t begin = args.cu_seqlens[s], end = args.cu_seqlens[s + 1];
    const T* const values = args.values + s;  // one more value than actions in each before
    const T gamma = static_cast<T>(args.gamma);
    const T decay = static_cast<T>(args.gamma * args.lambda);
    T carry = 0;  // advantage of the action after the chunk
    for (int64_t chunk_end = end; chunk_end > begin; chunk_end -= kThreads) {
      block.each([&](int thread) {
        const int64_t t = chunk_end - 1 - thread;
        T delta = 0;
        if (t >= begin) {
          const bool is_last = t + 1 == end;
          const T next = is_last && !args.bootstrap[s] ? T(0) : values[t + 1];
          delta = args.rewards[t] + gamma * next - values[t];
          if (thread == 0) delta += decay * carry;
        }
        shared.sums[0][thread] = delta;
      });
      T power = decay;  // decay^distance
      int from = 0;
      for (int distance = 1; distance < kThreads; distance *= 2) {
        block.each([&](int thread) {
          T sum = shared.sums[from][thread];
          if (thread >= distance) sum += power * shared.sums[from][thread - distance];
          shared.sums[1 - from][thread] = sum;
        });
        from = 1 - from;
        power *= power;
      }
      block.each([&](int thread) {
        const int64_t t = chunk_end - 1 - thread;
        if (t < begin) return;
        args.advantages[t] = shared.sums[from][thread];
        args.returns[t] = shared.sums[from][thread] + values[t];
      });
      carry = block.uniform(shared.sums[from][kThreads - 1]);
    }
  }
};

}  // namespace orrery::kernels::blocks
