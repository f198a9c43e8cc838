// The norms of the families over rows of the residual stream, one behind another: the kernel for
// plain rms norm, plain loops for a mean and a bias. Private to src/model.
#pragma once

#include <cstdint>
#include <vector>

#include "orrery/kernels/rms_norm.h"
#include "orrery/model/architecture.h"

namespace orrery::model {

/// A weight as it multiplies: 1 + w where the model has that. A view of `weight` otherwise.
template <class T>
class NormScale {
 public:
  NormScale(NormKind kind, const T* weight, int64_t width);
  const T* data() const { return shifted_.empty() ? weight_ : shifted_.data(); }

 private:
  const T* weight_;
  std::vector<T> shifted_;
};

template <class T>
struct RowNormArgs {
  NormKind kind = NormKind::kRms;
  const T* x = nullptr;       // [n_rows, width]
  const T* weight = nullptr;  // [width]
  const T* bias = nullptr;    // [width], kLayer only
  T* y = nullptr;             // [n_rows, width]; may be x
  T* rstd = nullptr;          // [n_rows]; null: not wanted
  int64_t n_rows = 0;
  int64_t width = 0;
  double eps = 0;
};

template <class T>
void norm_rows(const RowNormArgs<T>& args);

template <class T>
struct RowNormBackwardArgs {
  NormKind kind = NormKind::kRms;
  const T* x = nullptr;
  const T* weight = nullptr;
  const T* rstd = nullptr;  // [n_rows], of the forward pass
  const T* dy = nullptr;    // [n_rows, width]
  T* dx = nullptr;          // [n_rows, width]
  T* dweight = nullptr;     // [width], added to
  T* dbias = nullptr;       // [width], added to; kLayer only
  int64_t n_rows = 0;
  int64_t width = 0;
  kernels::Output dx_output = kernels::Output::kOverwrite;
};

template <class T>
void norm_rows_backward(const RowNormBackwardArgs<T>& args);

}  // namespace orrery::model
