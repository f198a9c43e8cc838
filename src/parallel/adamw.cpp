#include "orrery/parallel/adamw.h"

#include <cmath>

#include "adamw_update.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::parallel {

AdamW::AdamW(model::FlatParameters& parameters, AdamWOptions options)
    : parameters_(parameters),
      options_(options),
      first_moment_(at::zeros_like(parameters.values())),
      second_moment_(at::zeros_like(parameters.values())) {
  for (const model::ParameterSpec& spec : parameters.table().parameters) {
    if (stretches_.empty() || stretches_.back().decays != spec.weight_decay) {
      stretches_.push_back({spec.offset, spec.offset, spec.weight_decay});
    }
    stretches_.back().end = spec.offset + spec.numel;
  }
}

void AdamW::step(double lr, double gradient_scale) {
  ++steps_done_;
  const double t = static_cast<double>(steps_done_);
  AT_DISPATCH_FLOATING_TYPES(parameters_.values().scalar_type(), "adamw", [&] {
    for (const Stretch& stretch : stretches_) {
      const AdamWCoefficients<scalar_t> c = {
          .gradient_scale = static_cast<scalar_t>(gradient_scale),
          .beta1 = static_cast<scalar_t>(options_.beta1),
          .beta2 = static_cast<scalar_t>(options_.beta2),
          .lr = static_cast<scalar_t>(lr),
          .decay = static_cast<scalar_t>(stretch.decays ? options_.weight_decay : 0),
          .correction1 = static_cast<scalar_t>(1 - std::pow(options_.beta1, t)),
          .root_correction2 = static_cast<scalar_t>(std::sqrt(1 - std::pow(options_.beta2, t))),
          .eps = static_cast<scalar_t>(options_.eps)};
      adamw_update(parameters_.values().data_ptr<scalar_t>() + stretch.begin,
                   parameters_.gradients().const_data_ptr<scalar_t>() + stretch.begin,
                   first_moment_.data_ptr<scalar_t>() + stretch.begin,
                   second_moment_.data_ptr<scalar_t>() + stretch.begin, stretch.end - stretch.begin,
                   c);
    }
  });
}

void AdamW::restore(int64_t steps_done, const at::Tensor& first_moment,
                    const at::Tensor& second_moment) {
  for (const at::Tensor* moment : {&first_moment, &second_moment}) {
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
}

}  // namespace orrery::parallel
