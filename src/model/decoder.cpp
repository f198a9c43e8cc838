#include "orrery/model/decoder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>  // max
#include <utility>    // move

#include "decoder_state.h"
#include "dispatch.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/kernels/rope.h"

namespace orrery::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct TrunkHolder : torch::CustomClassHolder {
  std::shared_ptr<Decoder::State> state;
  TrunkRecord record;
};

/// The anchor makes the result differentiable; the gradients go straight into the flat buffer.
struct HiddenFunction : torch::autograd::Function<HiddenFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& /*anchor*/,
                            const std::shared_ptr<Decoder::State>& state,
                            const PackedTokens& batch) {
    auto holder = c10::make_intrusive<TrunkHolder>();
    holder->state = state;
    at::Tensor hidden = forward_trunk(*state, batch, &holder->record);
    context->saved_data["trunk"] = c10::IValue::make_capsule(std::move(holder));
    return hidden;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto capsule = context->saved_data["trunk"].toCapsule();
    auto& holder = static_cast<TrunkHolder&>(*capsule);
    backward_trunk(*holder.state, holder.record, gradients[0]);
    return {at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

Architecture sound(Architecture architecture) {
  const std::vector<std::string> problems = architecture.problems();
  if (!problems.empty()) {
    throw ConfigError("impossible model", {.expected = "sizes that fit together",
                                           .got = base::join(problems, "; "),
                                           .advice = "correct the sizes of the model"});
  }
  return architecture;
}

void check_temperature(double temperature) {
  if (temperature > 0) return;
  throw ConfigError("temperature of log-probabilities", {.expected = "a number above 0",
                                                         .got = base::concat(temperature),
                                                         .advice = "use 1 for the plain model"});
}

}  // namespace

Decoder::State::State(Architecture given, at::ScalarType dtype)
    : architecture(std::move(given)),
      parameters(parameter_table(architecture), dtype),
      pool(dtype) {
  const Architecture& a = architecture;
  anchor = at::zeros({1}, at::TensorOptions().dtype(dtype));
  anchor.set_requires_grad(true);
  embedding = parameters.leaf("model.embed_tokens.weight").detach();
  final_norm = parameters.leaf("model.norm.weight").detach();
  head = a.tie_embeddings ? embedding : parameters.leaf("lm_head.weight").detach();
  for (int64_t block = 0; block < a.n_layers; ++block) {
    layers.push_back(layer_weights(a, parameters.table(), parameters.values(), block));
  }
}

Decoder::State::Gradients& Decoder::State::gradients() {
  if (gradient_views.has_value()) return *gradient_views;
  const at::Tensor& flat = parameters.gradients();
  Gradients views;
  views.embedding = parameters.gradient("model.embed_tokens.weight");
  views.final_norm = parameters.gradient("model.norm.weight");
  views.head =
      architecture.tie_embeddings ? views.embedding : parameters.gradient("lm_head.weight");
  for (int64_t block = 0; block < architecture.n_layers; ++block) {
    views.layers.push_back(layer_weights(architecture, parameters.table(), flat, block));
  }
  gradient_views = std::move(views);
  return *gradient_views;
}

void Decoder::State::extend_rope_table(int64_t n_positions) {
  const int64_t have = cosines.defined() ? cosines.size(0) : 0;
  if (n_positions <= have) return;
  const int64_t half = architecture.head_dim / 2;
  const int64_t rows =
      std::min(architecture.max_positions, std::max<int64_t>({n_positions, 2 * have, 256}));
  cosines = at::empty({rows, half}, embedding.options());
  sines = at::empty({rows, half}, embedding.options());
  with_type(cosines.scalar_type(), [&]<class T>() {
    kernels::fill_rope_table<T>(cosines.data_ptr<T>(), sines.data_ptr<T>(), rows,
                                architecture.head_dim, architecture.rope_theta);
  });
}

Decoder::Decoder(Architecture architecture, at::ScalarType dtype, c10::Device device) {
  if (!device.is_cpu()) {
    throw ConfigError(
        "device of a decoder",
        {.expected = "cpu", .got = device.str(), .advice = "this version computes on the CPU"});
  }
  state_ = std::make_shared<State>(sound(std::move(architecture)), dtype);
}

Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

const Architecture& Decoder::architecture() const { return state_->architecture; }
at::ScalarType Decoder::dtype() const { return state_->parameters.values().scalar_type(); }
FlatParameters& Decoder::parameters() { return state_->parameters; }
const FlatParameters& Decoder::parameters() const { return state_->parameters; }
void Decoder::set_activations(Activations activations) { state_->activations = activations; }

at::Tensor Decoder::hidden(const PackedTokens& batch) {
  check_tokens(batch, state_->architecture.vocab_size, state_->architecture.max_positions);
  if (!at::GradMode::is_enabled()) return forward_trunk(*state_, batch, nullptr);
  return HiddenFunction::apply(state_->anchor, state_, batch);
}

at::Tensor Decoder::log_probs(const PackedTokens& batch, double temperature) {
  check_temperature(temperature);
  return head_log_probs(state_, hidden(batch), batch, temperature, Entropy::kSkip).log_probs;
}

LogProbs Decoder::log_probs_and_entropy(const PackedTokens& batch, double temperature) {
  check_temperature(temperature);
  return head_log_probs(state_, hidden(batch), batch, temperature, Entropy::kCompute);
}

at::Tensor Decoder::logits(const PackedTokens& batch) { return head_logits(state_, hidden(batch)); }

}  // namespace orrery::model
