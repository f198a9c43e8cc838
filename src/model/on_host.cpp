#include "orrery/model/on_host.h"

#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

namespace orrery::model {
namespace {

struct OnHost : torch::autograd::Function<OnHost> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x) {
    context->saved_data["device"] = x.device();
    return x.cpu();
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const at::Tensor& gradient = gradients[0];
    const at::Tensor pinned =
        at::empty(gradient.sizes(), gradient.options().pinned_memory(true)).copy_(gradient);
    return {pinned.to(context->saved_data["device"].toDevice(), /*non_blocking=*/true)};
  }
};

}  // namespace

at::Tensor on_host(const at::Tensor& x) { return x.is_cpu() ? x : OnHost::apply(x); }

}  // namespace orrery::model
