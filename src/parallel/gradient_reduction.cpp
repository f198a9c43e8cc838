#include "orrery/parallel/gradient_reduction.h"

#include <algorithm>

namespace orrery::parallel {

void sum_gradients(const at::Tensor& gradients, comm::Communicator& group,
                   int64_t bucket_elements) {
  if (group.size() == 1) return;
  for (int64_t begin = 0; begin < gradients.numel(); begin += bucket_elements) {
    at::Tensor bucket =
        gradients.narrow(0, begin, std::min(bucket_elements, gradients.numel() - begin));
    group.all_reduce(bucket, comm::ReduceOp::kSum);
  }
}

double clip_scale(double norm, double max_norm) {
  return max_norm > 0 && norm > max_norm ? max_norm / norm : 1;
}

}  // namespace orrery::parallel
