// The loop of AdamW over plain memory: one pass, all four arrays. Its own file without tensors, so
// that it is optimised in every build and has one version for each instruction set.
#pragma once

#include <cstdint>

namespace orrery::parallel {

/// Numbers of one update that are the same for all elements.
template <class T>
struct AdamWCoefficients {
  T gradient_scale, beta1, beta2, lr, decay, correction1, root_correction2, eps;
};

/// n elements each of parameters p, gradients g, moments m and v. Any instruction set gives the
/// same bits: square roots and quotients are exact, and no product is fused with a sum.
/// Local; any thread.
void adamw_update(float* p, const float* g, float* m, float* v, int64_t n,
                  const AdamWCoefficients<float>& coefficients);
void adamw_update(double* p, const double* g, double* m, double* v, int64_t n,
                  const AdamWCoefficients<double>& coefficients);

}  // namespace orrery::parallel
