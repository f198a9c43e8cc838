#include "orrery/parallel/adamw.h"

#include <algorithm>
#include <cmath>

#include "orrery/base/error.h"
#include "orrery/base/hash.h"
#include "orrery/base/text.h"
#include "orrery/kernels/adamw.h"
#include "orrery/model/arithmetic_type.h"
#include "orrery/model/cuda_stream.h"

namespace orrery::parallel {

namespace {

/// Of the values' device.
at::TensorOptions moments_of(const at::Tensor& values, const AdamWOptions& options) {
  const at::TensorOptions sums = model::sums_of(values);
  if (!options.bf16_moments) return sums;
  ORRERY_ASSERT(sums.dtype() == at::kFloat, "moments of bf16 beside fp32");
  return sums.dtype(at::kBFloat16);
}

/// Of number `place` of a parameter. Shards that have the same parameter, each at another place of
/// its buffer, round it alike: else copies would part.
uint64_t first_rounding(const model::ParameterSpec& spec, int64_t place) {
  constexpr uint64_t kNumbers = uint64_t{1} << 40;  // of a parameter, at most
  return (base::hash64(spec.name) & ~(kNumbers - 1)) + static_cast<uint64_t>(place);
}

template <class T>
void update_on_cpu(const kernels::AdamWArgs<T, T, T>& args) {
  kernels::adamw_update(args.p, args.g, args.m, args.v, args.n, args.coefficients);
}
void update_on_cpu(const kernels::AdamWArgs<float, float, kernels::Bf16>& args) {
  kernels::adamw_update(args.p, args.g, args.m, args.v, args.n, args.coefficients, args.rounding);
}

/// Gradients of bf16, a block of them at a time as the fp32 that they are.
template <class M>
void update_on_cpu(const kernels::AdamWArgs<float, kernels::Bf16, M>& args) {
  constexpr int64_t kBlock = 1024;
  float wide[kBlock];
  for (int64_t begin = 0; begin < args.n; begin += kBlock) {
    const int64_t count = std::min(kBlock, args.n - begin);
    for (int64_t i = 0; i < count; ++i) wide[i] = kernels::to_float(args.g[begin + i]);
    update_on_cpu(kernels::AdamWArgs<float, float, M>{
        .p = args.p + begin,
        .g = wide,
        .m = args.m + begin,
        .v = args.v + begin,
        .n = count,
        .coefficients = args.coefficients,
        .rounding = {.step = args.rounding.step,
                     .first = args.rounding.first + static_cast<uint64_t>(begin)}});
  }
}

}  // namespace

AdamW::AdamW(model::FlatParameters& parameters, AdamWOptions options)
    : AdamW(parameters, options, {0, parameters.numel()}) {}

AdamW::AdamW(model::FlatParameters& parameters, AdamWOptions options, model::IndexRange owned)
    : parameters_(parameters),
      options_(options),
      owned_(owned),
      first_moment_(at::zeros({owned.count}, moments_of(parameters.values(), options))),
      second_moment_(at::zeros_like(first_moment_)) {
  if (parameters.dtype() == at::kBFloat16) {
    master_weights_ = owned_values().to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
  }
  for (const model::ParameterSpec& spec : parameters.table().parameters) {
    const int64_t begin = std::max(spec.offset, owned.first);
    const int64_t end = std::min(spec.offset + spec.numel, owned.end());
    if (begin >= end) continue;
    // Moments of bf16 are rounded by a parameter's name and place in it.
    if (ranges_.empty() || ranges_.back().decays != spec.weight_decay || options.bf16_moments) {
      ranges_.push_back({.begin = begin - owned.first,
                         .decays = spec.weight_decay,
                         .first_rounding = first_rounding(spec, begin - spec.offset)});
    }
    ranges_.back().end = end - owned.first;
  }
  master_memory_ = model::OffloadableBuffer(master_weights_);
  first_memory_ = model::OffloadableBuffer(first_moment_);
  second_memory_ = model::OffloadableBuffer(second_moment_);
}

void AdamW::offload() {
  for (model::OffloadableBuffer* memory : {&first_memory_, &second_memory_, &master_memory_}) {
    memory->offload();
  }
}

void AdamW::fetch() {
  for (model::OffloadableBuffer* memory : {&first_memory_, &second_memory_, &master_memory_}) {
    memory->fetch();
  }
}

void AdamW::step(double lr, double gradient_scale) {
  step(parameters_.gradients().narrow(0, owned_.first, owned_.count), lr, gradient_scale);
}

template <class T>
kernels::AdamWCoefficients<T> AdamW::coefficients(double lr, double gradient_scale,
                                                  bool decays) const {
  const double t = static_cast<double>(steps_done_);
  return {.gradient_scale = static_cast<T>(gradient_scale),
          .beta1 = static_cast<T>(options_.beta1),
          .beta2 = static_cast<T>(options_.beta2),
          .lr = static_cast<T>(lr),
          .decay = static_cast<T>(decays ? options_.weight_decay : 0),
          .correction1 = static_cast<T>(1 - std::pow(options_.beta1, t)),
          .root_correction2 = static_cast<T>(std::sqrt(1 - std::pow(options_.beta2, t))),
          .eps = static_cast<T>(options_.eps)};
}

template <class T, class G, class M>
void AdamW::step_of(const at::Tensor& gradients, double lr, double gradient_scale) {
  const auto numbers = [](const at::Tensor& x, int64_t begin) {
    return static_cast<M*>(x.mutable_data_ptr()) + begin;
  };
  const at::Tensor stored = parameters_.stored().narrow(0, owned_.first, owned_.count);
  T* const values = (master_weights_.defined() ? master_weights_ : owned_values()).data_ptr<T>();
  for (const Range& range : ranges_) {
    kernels::AdamWArgs<T, G, M> args{
        .p = values + range.begin,
        .g = static_cast<const G*>(gradients.const_data_ptr()) + range.begin,
        .m = numbers(first_moment_, range.begin),
        .v = numbers(second_moment_, range.begin),
        .n = range.end - range.begin,
        .coefficients = coefficients<T>(lr, gradient_scale, range.decays),
        .rounding = {.step = static_cast<uint64_t>(steps_done_), .first = range.first_rounding}};
    if (!gradients.is_cuda()) {
      update_on_cpu(args);
      continue;
    }
    if (master_weights_.defined()) {
      args.stored = static_cast<kernels::Bf16*>(stored.mutable_data_ptr()) + range.begin;
    }
    kernels::adamw_cuda(args, model::stream_of(gradients));
  }
  if (!master_weights_.defined() || gradients.is_cuda()) return;
  stored.copy_(master_weights_);
  owned_values().copy_(stored);
}

void AdamW::step(const at::Tensor& gradients, double lr, double gradient_scale) {
  ORRERY_ASSERT(gradients.numel() == owned_.count, "a gradient for each owned parameter");
  ORRERY_ASSERT(!first_memory_.is_offloaded(), "moments are fetched before a step");
  ++steps_done_;
  using kernels::Bf16;
  const bool is_narrow = gradients.scalar_type() == at::kBFloat16;
  if (first_moment_.scalar_type() == at::kDouble) {
    step_of<double, double, double>(gradients, lr, gradient_scale);
  } else if (options_.bf16_moments) {
    is_narrow ? step_of<float, Bf16, Bf16>(gradients, lr, gradient_scale)
              : step_of<float, float, Bf16>(gradients, lr, gradient_scale);
  } else {
    is_narrow ? step_of<float, Bf16, float>(gradients, lr, gradient_scale)
              : step_of<float, float, float>(gradients, lr, gradient_scale);
  }
}

void AdamW::restore(int64_t steps_done, const at::Tensor& first_moment,
                    const at::Tensor& second_moment, const at::Tensor& master_weights) {
  const auto check = [](const at::Tensor& saved, const at::Tensor& here) {
    if (saved.sizes() == here.sizes() && saved.scalar_type() == here.scalar_type()) return;
    throw ShapeError(
        "saved moments do not fit the parameters",
        {.expected = base::concat(here.numel(), " elements of type ", toString(here.scalar_type())),
         .got = base::concat(saved.numel(), " elements of type ", toString(saved.scalar_type())),
         .advice = {}});
  };
  check(first_moment, first_moment_);
  check(second_moment, second_moment_);
  if (master_weights.defined()) check(master_weights, master_weights_);
  steps_done_ = steps_done;
  first_memory_.where_it_is().copy_(first_moment);
  second_memory_.where_it_is().copy_(second_moment);
  if (master_weights_.defined()) {
    master_memory_.where_it_is().copy_(master_weights.defined() ? master_weights : owned_values());
  }
}

}  // namespace orrery::parallel
