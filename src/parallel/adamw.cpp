#include "orrery/parallel/adamw.h"

#include <cmath>

namespace orrery::parallel {

namespace {

/// Numbers of one update that are the same for all elements.
template <class T>
struct Coefficients {
  T gradient_scale, beta1, beta2, lr, decay, correction1, root_correction2, eps;
};

template <class T>
void update(T* __restrict p, const T* __restrict g, T* __restrict m, T* __restrict v, int64_t n,
            const Coefficients<T>& c) {
  for (int64_t i = 0; i < n; ++i) {
    const T gradient = g[i] * c.gradient_scale;
    m[i] = c.beta1 * m[i] + (1 - c.beta1) * gradient;
    v[i] = c.beta2 * v[i] + (1 - c.beta2) * gradient * gradient;
    const T direction = m[i] / c.correction1 / (std::sqrt(v[i]) / c.root_correction2 + c.eps);
    p[i] -= c.lr * (c.decay * p[i] + direction);
  }
}

}  // namespace

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
      const Coefficients<scalar_t> c = {
          .gradient_scale = static_cast<scalar_t>(gradient_scale),
          .beta1 = static_cast<scalar_t>(options_.beta1),
          .beta2 = static_cast<scalar_t>(options_.beta2),
          .lr = static_cast<scalar_t>(lr),
          .decay = static_cast<scalar_t>(stretch.decays ? options_.weight_decay : 0),
          .correction1 = static_cast<scalar_t>(1 - std::pow(options_.beta1, t)),
          .root_correction2 = static_cast<scalar_t>(std::sqrt(1 - std::pow(options_.beta2, t))),
          .eps = static_cast<scalar_t>(options_.eps)};
      update(parameters_.values().data_ptr<scalar_t>() + stretch.begin,
             parameters_.gradients().data_ptr<scalar_t>() + stretch.begin,
             first_moment_.data_ptr<scalar_t>() + stretch.begin,
             second_moment_.data_ptr<scalar_t>() + stretch.begin, stretch.end - stretch.begin, c);
    }
  });
}

}  // namespace orrery::parallel
