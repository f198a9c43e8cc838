#include "orrery/parallel/adamw.h"

#include <algorithm>
#include <cmath>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/kernels/adamw.h"
#include "orrery/model/arithmetic_type.h"
#include "orrery/model/cuda_stream.h"

namespace orrery::parallel {

namespace {

at::TensorOptions sums_of(const at::Tensor& values) {
  return values.options().dtype(model::arithmetic_type(values.scalar_type()));
}

}  // namespace

AdamW::AdamW(model::FlatParameters& parameters, AdamWOptions options)
    : AdamW(parameters, options, {0, parameters.numel()}) {}

AdamW::AdamW(model::FlatParameters& parameters, AdamWOptions options, model::IndexRange owned)
    : parameters_(parameters),
      options_(options),
      owned_(owned),
      first_moment_(at::zeros({owned.count}, sums_of(parameters.values()))),
      second_moment_(at::zeros_like(first_moment_)) {
  if (parameters.dtype() == at::kBFloat16) {
    master_weights_ = owned_values().to(first_moment_.scalar_type(), /*non_blocking=*/false,
                                        /*copy=*/true);
  }
  for (const model::ParameterSpec& spec : parameters.table().parameters) {
    const int64_t begin = std::max(spec.offset, owned.first);
    const int64_t end = std::min(spec.offset + spec.numel, owned.end());
    if (begin >= end) continue;
    if (decay_ranges_.empty() || decay_ranges_.back().decays != spec.weight_decay) {
      decay_ranges_.push_back({begin - owned.first, 0, spec.weight_decay});
    }
    decay_ranges_.back().end = end - owned.first;
  }
}

void AdamW::step(double lr, double gradient_scale) {
  step(parameters_.gradients().narrow(0, owned_.first, owned_.count), lr, gradient_scale);
}

void AdamW::step(const at::Tensor& gradients, double lr, double gradient_scale) {
  ORRERY_ASSERT(gradients.numel() == owned_.count, "a gradient for each owned parameter");
  ++steps_done_;
  const double t = static_cast<double>(steps_done_);
  const at::Tensor stored = parameters_.stored().narrow(0, owned_.first, owned_.count);
  AT_DISPATCH_FLOATING_TYPES(first_moment_.scalar_type(), "adamw", [&] {
    scalar_t* const values = master_weights_.defined()
                                 ? master_weights_.data_ptr<scalar_t>()
                                 : parameters_.values().data_ptr<scalar_t>() + owned_.first;
    for (const DecayRange& range : decay_ranges_) {
      const kernels::AdamWCoefficients<scalar_t> c = {
          .gradient_scale = static_cast<scalar_t>(gradient_scale),
          .beta1 = static_cast<scalar_t>(options_.beta1),
          .beta2 = static_cast<scalar_t>(options_.beta2),
          .lr = static_cast<scalar_t>(lr),
          .decay = static_cast<scalar_t>(range.decays ? options_.weight_decay : 0),
          .correction1 = static_cast<scalar_t>(1 - std::pow(options_.beta1, t)),
          .root_correction2 = static_cast<scalar_t>(std::sqrt(1 - std::pow(options_.beta2, t))),
          .eps = static_cast<scalar_t>(options_.eps)};
      kernels::AdamWArgs<scalar_t, scalar_t> args{
          .p = values + range.begin,
          .g = gradients.const_data_ptr<scalar_t>() + range.begin,
          .m = first_moment_.data_ptr<scalar_t>() + range.begin,
          .v = second_moment_.data_ptr<scalar_t>() + range.begin,
          .n = range.end - range.begin,
          .coefficients = c};
      if (gradients.is_cuda()) {
        if (master_weights_.defined()) {
          args.stored = static_cast<kernels::Bf16*>(stored.mutable_data_ptr()) + range.begin;
        }
        kernels::adamw_cuda(args, model::stream_of(gradients));
      } else {
        kernels::adamw_update(args.p, args.g, args.m, args.v, args.n, c);
      }
    }
  });
  if (!master_weights_.defined() || gradients.is_cuda()) return;
  stored.copy_(master_weights_);
  owned_values().copy_(stored);
}

void AdamW::restore(int64_t steps_done, const at::Tensor& first_moment,
                    const at::Tensor& second_moment, const at::Tensor& master_weights) {
  for (const at::Tensor* moment : {&first_moment, &second_moment, &master_weights}) {
    if (moment == &master_weights && !master_weights.defined()) continue;
    if (moment->sizes() == first_moment_.sizes() &&
        moment->scalar_type() == first_moment_.scalar_type()) {
      continue;
    }
    throw ShapeError("saved moments do not fit the parameters",
                     {.expected = base::concat(first_moment_.numel(), " elements of type ",
                                               toString(first_moment_.scalar_type())),
                      .got = base::concat(moment->numel(), " elements of type ",
                                          toString(moment->scalar_type())),
                      .advice = {}});
  }
  steps_done_ = steps_done;
  first_moment_.copy_(first_moment);
  second_moment_.copy_(second_moment);
  if (master_weights_.defined())
    master_weights_.copy_(master_weights.defined() ? master_weights : owned_values());
}

}  // namespace orrery::parallel
