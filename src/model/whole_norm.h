// The rms norm of all query heads together, or of all key heads: with several tensor ranks each
// has some of them, and the sum of squares is one of all ranks. Private to src/model.
//   y = x rstd w, rstd = 1 / sqrt(sum(x^2) / width + eps);
//   dx = rstd (g - x rstd^2 sum(g x) / width) with g = dy w
#pragma once

#include <cstdint>

#include "orrery/comm/communicator.h"
#include "orrery/model/architecture.h"

namespace orrery::model {

/// How the heads of the norms lie on tensor ranks.
struct HeadRanks {
  comm::Communicator* tensor = nullptr;  // null: all heads are here
  int64_t kv_copies = 1;                 // ranks that have the same key heads

  int64_t size() const { return tensor == nullptr ? 1 : tensor->size(); }
};

/// q and k of n_tokens rows: [q_width | k_width | ...] with a stride.
template <class T>
struct WholeNormArgs {
  NormKind kind = NormKind::kRms;
  const T* x = nullptr;  // q, and k behind it
  int64_t x_stride = 0;
  const T* q_weight = nullptr;  // [q_width]
  const T* k_weight = nullptr;  // [k_width]
  T* y = nullptr;               // may be x
  int64_t y_stride = 0;
  T* rstd = nullptr;  // [n_tokens, 2]; null: not wanted
  int64_t n_tokens = 0, q_width = 0, k_width = 0;
  double eps = 0;
  HeadRanks ranks;
};

/// Collective over the tensor ranks.
template <class T>
void norm_whole(const WholeNormArgs<T>& args);

template <class T>
struct WholeNormBackwardArgs {
  NormKind kind = NormKind::kRms;
  const T* x = nullptr;
  int64_t x_stride = 0;
  const T* q_weight = nullptr;
  const T* k_weight = nullptr;
  const T* rstd = nullptr;  // [n_tokens, 2]
  T* gradient = nullptr;    // of q, and of k behind it: by y on entry, by x on return. With copies
                            // of key heads a sum over these ranks is the gradient, before and after
  int64_t gradient_stride = 0;
  T* dq_weight = nullptr;  // added to
  T* dk_weight = nullptr;
  int64_t n_tokens = 0, q_width = 0, k_width = 0;
  HeadRanks ranks;
};

/// Collective over the tensor ranks.
template <class T>
void norm_whole_backward(const WholeNormBackwardArgs<T>& args);

}  // namespace orrery::model
