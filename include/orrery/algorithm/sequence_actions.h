// Sums and means over the valid actions of each packed sequence, and back to actions,
// differentiable. Local. Shape letters: N sequences, A actions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace orrery::algorithm {

class SequenceActions {
 public:
  ///   lengths  [N] actions of each sequence
  ///   mask     [A] bool
  /// Throws ShapeError when they do not fit.
  SequenceActions(const std::vector<int32_t>& lengths, const at::Tensor& mask);

  /// [N] fp64, valid actions of each sequence.
  const at::Tensor& counts() const { return counts_; }
  /// [A] -> [N]: what is masked does not count, whatever it is.
  at::Tensor sums(const at::Tensor& per_action) const;
  /// The same divided by the number of valid actions; 0 for a sequence without one.
  at::Tensor means(const at::Tensor& per_action) const;
  /// [N] -> [A]: each sequence's number at all its actions.
  at::Tensor spread(const at::Tensor& per_sequence) const;

 private:
  at::Tensor mask_;    // [A] bool
  at::Tensor places_;  // [A] int64, each action's sequence
  at::Tensor counts_;  // [N] fp64
};

}  // namespace orrery::algorithm
