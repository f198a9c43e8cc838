#include "orrery/model/decoder.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>  // move, exchange

#include "decoder_state.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/graph/layout.h"  // check_layout
#include "orrery/kernels/gpu.h"
#include "orrery/model/gpu_arithmetic.h"

namespace orrery::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct TrunkHolder : torch::CustomClassHolder {
  std::shared_ptr<Decoder::State> state;
  TrunkRecord record;
};

/// `source`: the output of the stage before, or on the first stage an anchor that makes the result
/// differentiable and gets no gradient. Those of parameters go straight into the flat buffer.
struct TrunkFunction : torch::autograd::Function<TrunkFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& source,
                            const std::shared_ptr<Decoder::State>& state,
                            const PackedTokens& batch) {
    auto holder = c10::make_intrusive<TrunkHolder>();
    holder->state = state;
    at::Tensor hidden = forward_trunk(*state, batch, source, &holder->record);
    context->saved_data["trunk"] = c10::IValue::make_capsule(std::move(holder));
    return hidden;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto capsule = context->saved_data["trunk"].toCapsule();
    auto& holder = static_cast<TrunkHolder&>(*capsule);
    return {backward_trunk(*holder.state, holder.record, gradients[0]), at::Tensor(), at::Tensor()};
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

void check_device(c10::Device device) {
  if (device.is_cpu() || (device.is_cuda() && kernels::gpu_count() > 0)) return;
  throw ConfigError(
      "device of a decoder",
      {.expected = "cpu, or a GPU that this process sees",
       .got = device.is_cuda() ? base::concat(device.str(), ", and ", kernels::why_no_gpu())
                               : device.str(),
       .advice = "compute on the CPU"});
}

void check_temperature(double temperature) {
  if (temperature > 0) return;
  throw ConfigError("temperature of log-probabilities", {.expected = "a number above 0",
                                                         .got = base::concat(temperature),
                                                         .advice = "use 1 for the plain model"});
}

}  // namespace

Decoder::State::State(Architecture given, at::ScalarType dtype, c10::Device device,
                      Shard given_shard)
    : architecture(std::move(given)),
      shard(given_shard),
      local(shard_architecture(architecture, shard.place)),
      parameters(parameter_table(architecture, shard.place), dtype, device),
      pool(parameters.values().options()),
      layer_pool(parameters.values().options()),
      weights(shard_weights(architecture, shard, parameters.table(), parameters.values(), amx)) {
  anchor = at::zeros({1}, parameters.values().options());
  anchor.set_requires_grad(true);
}

void Decoder::State::set_amx(kernels::Amx wanted) {
  amx = wanted;
  weights = shard_weights(architecture, shard, parameters.table(), parameters.values(), amx);
  gradient_views.reset();
}

ShardWeights& Decoder::State::gradients() {
  if (!gradient_views.has_value()) {
    gradient_views =
        shard_weights(architecture, shard, parameters.table(), parameters.gradients(), amx);
  }
  return *gradient_views;
}

double Decoder::State::balance_of_layer() const {
  int64_t n = 0;
  for (int64_t layer = 0; layer < architecture.n_layers; ++layer) {
    n += architecture.has_experts(layer) ? 1 : 0;
  }
  return n == 0 ? 0 : balance / static_cast<double>(n);
}

Decoder::Decoder(Architecture architecture, at::ScalarType dtype, c10::Device device, Shard shard) {
  check_device(device);
  if (device.is_cuda()) fix_gpu_arithmetic();
  architecture = sound(std::move(architecture));
  const std::vector<std::string> problems =
      check_layout(architecture, {.tensor = shard.place.n_tensor, .pipe = shard.place.n_pipe});
  if (!problems.empty()) {
    throw ConfigError("a model cannot be cut like this", {.expected = "a layout that fits it",
                                                          .got = base::join(problems, "; "),
                                                          .advice = "choose another layout"});
  }
  state_ = std::make_shared<State>(std::move(architecture), dtype, device, shard);
}

Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

const Architecture& Decoder::architecture() const { return state_->architecture; }
const Shard& Decoder::shard() const { return state_->shard; }
at::ScalarType Decoder::dtype() const { return arithmetic_type(state_->dtype()); }
FlatParameters& Decoder::parameters() { return state_->parameters; }
const FlatParameters& Decoder::parameters() const { return state_->parameters; }
void Decoder::set_recomputed_layers(int64_t n) {
  const auto n_layers = static_cast<int64_t>(state_->weights.layers.size());
  ORRERY_ASSERT(n >= 0 && n <= n_layers, "a stage recomputes some of its layers");
  state_->n_recomputed = static_cast<size_t>(n);
}
int64_t Decoder::n_layers() const { return static_cast<int64_t>(state_->weights.layers.size()); }
int64_t Decoder::activation_bytes() const {
  return state_->pool.size_bytes() + state_->layer_pool.size_bytes();
}
void Decoder::set_amx(kernels::Amx amx) { state_->set_amx(amx); }
void Decoder::set_balance_weight(double weight) { state_->balance = weight; }

int64_t Decoder::own_rows(const PackedTokens& batch) const {
  return PassRows::cut(batch.size(), state_->shard.tensor).n_own;
}

at::Tensor Decoder::run_stage(const PackedTokens& batch, const at::Tensor& input) {
  check_tokens(batch, state_->architecture.vocab_size, state_->architecture.max_positions);
  if (!at::GradMode::is_enabled()) return forward_trunk(*state_, batch, input, nullptr);
  const bool is_first = state_->shard.place.is_first_stage();
  return TrunkFunction::apply(is_first ? state_->anchor : input, state_, batch);
}

/// Own rows of the last stage's output; undefined on the other stages.
at::Tensor Decoder::run_pipeline(const PackedTokens& batch) {
  const Shard& shard = state_->shard;
  if (shard.pipe == nullptr) return run_stage(batch, {});
  ORRERY_ASSERT(!at::GradMode::is_enabled(), "a pipeline trains by its schedule, stage by stage");
  at::Tensor input;
  if (!shard.place.is_first_stage()) {
    input = at::empty({own_rows(batch), state_->architecture.hidden_size},
                      state_->parameters.values().options());
    shard.pipe->exchange({}, {{shard.place.pipe - 1, input}});
  }
  const at::Tensor output = run_stage(batch, input);
  if (shard.place.is_last_stage()) return output;
  shard.pipe->exchange({{shard.place.pipe + 1, output}}, {});
  return {};
}

at::Tensor Decoder::hidden(const PackedTokens& batch) {
  const at::Tensor output = run_pipeline(batch);
  if (output.defined()) return all_rows(state_, output, batch.size());
  return at::zeros({batch.size(), state_->architecture.hidden_size},
                   state_->parameters.values().options());
}

std::vector<Routing> Decoder::routings(const PackedTokens& batch) {
  ORRERY_ASSERT(state_->shard.pipe == nullptr, "routings of a pipeline are asked stage by stage");
  check_tokens(batch, state_->architecture.vocab_size, state_->architecture.max_positions);
  const size_t wanted = std::exchange(state_->n_recomputed, 0);
  TrunkRecord record;
  forward_trunk(*state_, batch, {}, &record);
  state_->n_recomputed = wanted;
  std::vector<Routing> routings;
  for (const LayerActivations& layer : record.activations) routings.push_back(layer.routing);
  return routings;
}

at::Tensor Decoder::head_values(const PackedTokens& batch, const at::Tensor& output) {
  ORRERY_ASSERT(state_->architecture.value_head, "only a value head gives values");
  return all_rows(state_, model::head_values(state_, output), batch.size()).squeeze(1);
}

at::Tensor Decoder::values(const PackedTokens& batch) {
  const at::Tensor output = run_pipeline(batch);
  if (output.defined()) return head_values(batch, output);
  return at::zeros({batch.size()}, state_->sums());
}

at::Tensor Decoder::head_log_probs(const PackedTokens& batch, const at::Tensor& output,
                                   double temperature) {
  check_temperature(temperature);
  ORRERY_ASSERT(!state_->architecture.value_head, "a value head gives no probabilities");
  return model::head_log_probs(state_, output, batch, temperature, Entropy::kSkip).log_probs;
}

LogProbs Decoder::head_measured_log_probs(const PackedTokens& batch, const at::Tensor& output,
                                          double temperature, EntropyGradient entropy) {
  check_temperature(temperature);
  ORRERY_ASSERT(!state_->architecture.value_head, "a value head gives no probabilities");
  return model::head_log_probs(
      state_, output, batch, temperature,
      entropy == EntropyGradient::kFlows ? Entropy::kCompute : Entropy::kMeasure);
}

at::Tensor Decoder::head_divergence(const PackedTokens& batch, const at::Tensor& output,
                                    const TeacherRows& teacher, const at::Tensor& mask,
                                    const DivergenceOptions& options) {
  check_options(options);
  ORRERY_ASSERT(!state_->architecture.value_head, "a value head gives no probabilities");
  return model::head_divergence(state_, output, batch, *teacher.decoder->state_, teacher, mask,
                                options);
}

at::Tensor Decoder::log_probs(const PackedTokens& batch, double temperature) {
  check_temperature(temperature);
  const at::Tensor output = run_pipeline(batch);
  if (output.defined()) return head_log_probs(batch, output, temperature);
  return at::zeros({batch.n_actions()}, state_->sums());
}

at::Tensor Decoder::logits(const PackedTokens& batch) {
  const at::Tensor output = run_pipeline(batch);
  if (output.defined()) return head_logits(state_, output, batch);
  return at::zeros({batch.size(), state_->architecture.vocab_size}, state_->sums());
}

}  // namespace orrery::model
