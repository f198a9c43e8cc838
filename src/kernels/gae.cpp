#include "orrery/kernels/gae.h"

namespace orrery::kernels {

template <class T>
void gae(const GaeArgs<T>& args) {
  const T gamma = static_cast<T>(args.gamma);
  const T decay = static_cast<T>(args.gamma * args.lambda);
  for (int64_t s = 0; s < args.n_sequences; ++s) {
    const int64_t begin = args.cu_seqlens[s], end = args.cu_seqlens[s + 1];
    const T* values = args.values + s;  // one more value than actions in each sequence before
    T next_value = args.bootstrap[s] ? values[end] : T(0);
    T advantage = 0;
    for (int64_t t = end - 1; t >= begin; --t) {
      const T delta = args.rewards[t] + gamma * next_value - values[t];
      advantage = delta + decay * advantage;
      args.advantages[t] = advantage;
      args.returns[t] = advantage + values[t];
      next_value = values[t];
    }
  }
}

template void gae<float>(const GaeArgs<float>&);
template void gae<double>(const GaeArgs<double>&);

}  // namespace orrery::kernels
