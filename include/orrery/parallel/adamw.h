// AdamW (Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019) on one flat
// buffer of parameters: one pass over memory, no tensor operation.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "orrery/kernels/adamw.h"  // AdamWCoefficients
#include "orrery/model/offloadable_buffer.h"
#include "orrery/model/parameter_table.h"

namespace orrery::parallel {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0;    ///< not on norms and biases
  bool bf16_moments = false;  ///< stored in two bytes, rounded stochastically; not beside fp64
};

class AdamW {
 public:
  /// Moments of zero, of the type of sums beside the values or of bf16, for the parameters in
  /// `owned`, a partition of the flat buffer. Of parameters stored in bf16 it keeps fp32 master
  /// weights, which begin as what is stored now. `parameters` must outlive it.
  AdamW(model::FlatParameters& parameters, AdamWOptions options, model::IndexRange owned);
  /// For all of them.
  AdamW(model::FlatParameters& parameters, AdamWOptions options);

  /// One update of the owned parameters with `gradients` [owned.count], of the type of sums or
  /// bf16, times `gradient_scale`:
  ///   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
  ///   p -= lr (decay p + m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps))
  /// Local.
  void step(const at::Tensor& gradients, double lr, double gradient_scale);
  /// With the gradients of the flat buffer.
  void step(double lr, double gradient_scale);

  const model::IndexRange& owned() const { return owned_; }

  int64_t steps_done() const { return steps_done_; }
  // Where they are: on the host while they are offloaded.
  at::Tensor first_moment() const { return first_memory_.where_it_is(); }    ///< [owned.count]
  at::Tensor second_moment() const { return second_memory_.where_it_is(); }  ///< [owned.count]

  /// [owned.count] fp32: what the updates add up in. Undefined unless parameters are bf16.
  at::Tensor master_weights() const { return master_memory_.where_it_is(); }

  /// Of a GPU: moments and master weights wait in pinned memory of the host until fetch(), before
  /// the next step(); model::OffloadableBuffer says how and what is thrown. On the host both do
  /// nothing.
  void offload();
  void fetch();

  /// Goes on from a saved state, on parameters that have been restored already. The moments are
  /// copied: [owned.count], of the type they have here. `master_weights` likewise, where there are
  /// any; undefined: those that are stored now. Throws ShapeError when they do not fit.
  void restore(int64_t steps_done, const at::Tensor& first_moment, const at::Tensor& second_moment,
               const at::Tensor& master_weights = {});

 private:
  template <class T>
  kernels::AdamWCoefficients<T> coefficients(double lr, double gradient_scale, bool decays) const;
  /// Types of numbers, gradients and moments, as kernels::AdamWArgs has them.
  template <class T, class G, class M>
  void step_of(const at::Tensor& gradients, double lr, double gradient_scale);

  /// Of the owned parameters, which are updated alike.
  struct Range {
    int64_t begin = 0;
    int64_t end = 0;
    bool decays = true;
    uint64_t first_rounding = 0;  // kernels::MomentRounding::first
  };

  at::Tensor owned_values() const {
    return parameters_.values().narrow(0, owned_.first, owned_.count);
  }

  model::FlatParameters& parameters_;
  AdamWOptions options_;
  model::IndexRange owned_;
  std::vector<Range> ranges_;
  at::Tensor master_weights_, first_moment_, second_moment_;
  model::OffloadableBuffer master_memory_, first_memory_, second_memory_;  // theirs
  int64_t steps_done_ = 0;
};

}  // namespace orrery::parallel
