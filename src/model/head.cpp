// hidden states -> next-token log-probabilities, without the logits of the whole batch: they are
// made a chunk of rows at a time, once forwards and once more backwards (a small price: the head is
// a few per cent of the products), from the log-sum-exp that forward kept.
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>  // clamp
#include <cstring>    // memcpy

#include "decoder_state.h"
#include "dispatch.h"
#include "orrery/base/error.h"
#include "orrery/kernels/token_log_probs.h"

namespace orrery::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A chunk's logits stay in the second-level cache, more or less.
constexpr int64_t kChunkBytes = 4 << 20;
constexpr int64_t kMinChunkRows = 32;

/// Which rows of hidden predict, and what.
struct Actions {
  std::vector<int64_t> rows;     // [A] places in the packed batch
  std::vector<int64_t> targets;  // [A]

  int64_t size() const { return static_cast<int64_t>(rows.size()); }
};

Actions actions_of(const PackedTokens& batch) {
  Actions actions;
  actions.rows.reserve(static_cast<size_t>(batch.n_actions()));
  actions.targets.reserve(static_cast<size_t>(batch.n_actions()));
  const int64_t* ids = batch.tokens.const_data_ptr<int64_t>();
  for (size_t s = 0; s + 1 < batch.cu_seqlens.size(); ++s) {
    for (int64_t t = batch.cu_seqlens[s]; t + 1 < batch.cu_seqlens[s + 1]; ++t) {
      actions.rows.push_back(t);
      actions.targets.push_back(ids[t + 1]);
    }
  }
  return actions;
}

/// Kept from forward to backward. IValue needs an intrusive_ptr of this base.
struct HeadRecord : torch::CustomClassHolder {
  std::shared_ptr<Decoder::State> state;
  Actions actions;
  double inverse_temperature = 1;
  at::Tensor logsumexp;  // [A]
  at::Tensor entropy;    // [A] or undefined
};

/// The buffers of one chunk.
struct Chunk {
  at::Tensor hidden;  // [C, H]
  at::Tensor logits;  // [C, V]
};

class Chunks {
 public:
  Chunks(Decoder::State& state, int64_t n_actions) : state_(state), n_actions_(n_actions) {
    const int64_t row_bytes = state.architecture.vocab_size * state.head.element_size();
    rows_ = std::min(n_actions, std::max(kMinChunkRows, kChunkBytes / row_bytes));
    Slab slab = state.pool.take(Slab::size_of(rows_, state.architecture.hidden_size) +
                                Slab::size_of(rows_, state.architecture.vocab_size));
    hidden_ = slab.matrix(rows_, state.architecture.hidden_size);
    logits_ = slab.matrix(rows_, state.architecture.vocab_size);
  }

  /// Calls work(first action, chunk) for all chunks, with the rows' hidden states and logits.
  template <class T, class Work>
  void for_each(const at::Tensor& hidden, const Actions& actions, Work&& work) {
    const int64_t width = state_.architecture.hidden_size;
    const T* from = hidden.const_data_ptr<T>();
    for (int64_t first = 0; first < n_actions_; first += rows_) {
      const int64_t count = std::min(rows_, n_actions_ - first);
      Chunk chunk{hidden_.narrow(0, 0, count), logits_.narrow(0, 0, count)};
      T* to = chunk.hidden.data_ptr<T>();
      for (int64_t i = 0; i < count; ++i) {
        std::memcpy(to + i * width, from + actions.rows[static_cast<size_t>(first + i)] * width,
                    static_cast<size_t>(width) * sizeof(T));
      }
      at::mm_out(chunk.logits, chunk.hidden, state_.head.t());
      work(first, chunk);
    }
  }

 private:
  Decoder::State& state_;
  int64_t n_actions_;
  int64_t rows_;
  at::Tensor hidden_;
  at::Tensor logits_;
};

template <class T>
T* at_row(const at::Tensor& values, int64_t first) {
  return values.defined() ? values.data_ptr<T>() + first : nullptr;
}

struct HeadResult {
  at::Tensor log_probs, logsumexp, entropy;
};

HeadResult run_head(Decoder::State& state, const at::Tensor& hidden, const Actions& actions,
                    double inverse_temperature, Entropy entropy) {
  HeadResult result;
  result.log_probs = at::empty({actions.size()}, hidden.options());
  result.logsumexp = at::empty({actions.size()}, hidden.options());
  if (entropy == Entropy::kCompute) {
    result.entropy = at::empty({actions.size()}, hidden.options());
  }
  if (actions.size() == 0) return result;
  with_type(hidden.scalar_type(), [&]<class T>() {
    Chunks(state, actions.size())
        .for_each<T>(hidden, actions, [&](int64_t first, const Chunk& chunk) {
          kernels::token_log_probs<T>({.logits = chunk.logits.template const_data_ptr<T>(),
                                       .targets = actions.targets.data() + first,
                                       .log_probs = at_row<T>(result.log_probs, first),
                                       .logsumexp = at_row<T>(result.logsumexp, first),
                                       .entropy = at_row<T>(result.entropy, first),
                                       .n_rows = chunk.logits.size(0),
                                       .vocab_size = chunk.logits.size(1),
                                       .inverse_temperature = inverse_temperature});
        });
  });
  return result;
}

/// Gradient of the loss by hidden [T, H]; adds to the head's gradient.
at::Tensor run_head_backward(const HeadRecord& record, const at::Tensor& hidden,
                             const at::Tensor& dlog_probs, const at::Tensor& dentropy) {
  Decoder::State& state = *record.state;
  const Actions& actions = record.actions;
  at::Tensor dhidden = at::zeros(hidden.sizes(), hidden.options());
  if (actions.size() == 0) return dhidden;
  at::Tensor dhead = state.gradients().head;
  with_type(hidden.scalar_type(), [&]<class T>() {
    const int64_t width = hidden.size(1);
    T* to = dhidden.data_ptr<T>();
    Chunks(state, actions.size()).for_each<T>(hidden, actions, [&](int64_t first, Chunk& chunk) {
      const at::Tensor& dlogits = chunk.logits;  // in place
      kernels::token_log_probs_backward<T>({.logits = chunk.logits.template data_ptr<T>(),
                                            .targets = actions.targets.data() + first,
                                            .logsumexp = at_row<T>(record.logsumexp, first),
                                            .entropy = at_row<T>(record.entropy, first),
                                            .dlog_probs = at_row<T>(dlog_probs, first),
                                            .dentropy = at_row<T>(dentropy, first),
                                            .n_rows = dlogits.size(0),
                                            .vocab_size = dlogits.size(1),
                                            .inverse_temperature = record.inverse_temperature});
      dhead.addmm_(dlogits.t(), chunk.hidden);
      at::mm_out(chunk.hidden, dlogits, state.head);
      const T* from = chunk.hidden.template const_data_ptr<T>();
      for (int64_t i = 0; i < dlogits.size(0); ++i) {
        std::memcpy(to + actions.rows[static_cast<size_t>(first + i)] * width, from + i * width,
                    static_cast<size_t>(width) * sizeof(T));
      }
    });
  });
  return dhidden;
}

struct LogProbsFunction : torch::autograd::Function<LogProbsFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& hidden,
                               const std::shared_ptr<Decoder::State>& state,
                               const PackedTokens& batch, double inverse_temperature,
                               Entropy entropy) {
    auto record = c10::make_intrusive<HeadRecord>();
    record->state = state;
    record->actions = actions_of(batch);
    record->inverse_temperature = inverse_temperature;
    HeadResult result = run_head(*state, hidden, record->actions, inverse_temperature, entropy);
    record->logsumexp = result.logsumexp;
    record->entropy = result.entropy;
    context->save_for_backward({hidden});
    context->saved_data["record"] = c10::IValue::make_capsule(std::move(record));
    variable_list outputs{result.log_probs};
    // A copy: an output that the record also held would keep its own graph alive.
    if (result.entropy.defined()) outputs.push_back(result.entropy.clone());
    return outputs;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto capsule = context->saved_data["record"].toCapsule();
    const auto& record = static_cast<const HeadRecord&>(*capsule);
    const at::Tensor hidden = context->get_saved_variables()[0];
    const auto dense = [](const at::Tensor& g) { return g.defined() ? g.contiguous() : g; };
    return {run_head_backward(record, hidden, dense(gradients[0]),
                              gradients.size() > 1 ? dense(gradients[1]) : at::Tensor()),
            at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct StateHolder : torch::CustomClassHolder {
  explicit StateHolder(std::shared_ptr<Decoder::State> held) : state(std::move(held)) {}
  std::shared_ptr<Decoder::State> state;
};

struct LogitsFunction : torch::autograd::Function<LogitsFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden,
                            const std::shared_ptr<Decoder::State>& state) {
    context->save_for_backward({hidden});
    context->saved_data["state"] =
        c10::IValue::make_capsule(c10::make_intrusive<StateHolder>(state));
    return at::mm(hidden, state->head.t());
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto capsule = context->saved_data["state"].toCapsule();
    Decoder::State& state = *static_cast<const StateHolder&>(*capsule).state;
    const at::Tensor hidden = context->get_saved_variables()[0];
    const at::Tensor dlogits = gradients[0].contiguous();
    at::Tensor dhead = state.gradients().head;
    dhead.addmm_(dlogits.t(), hidden);
    return {at::mm(dlogits, state.head), at::Tensor()};
  }
};

}  // namespace

LogProbs head_log_probs(const std::shared_ptr<Decoder::State>& state, const at::Tensor& hidden,
                        const PackedTokens& batch, double temperature, Entropy entropy) {
  if (!hidden.requires_grad()) {
    HeadResult result = run_head(*state, hidden, actions_of(batch), 1 / temperature, entropy);
    return {result.log_probs, result.entropy};
  }
  variable_list outputs = LogProbsFunction::apply(hidden, state, batch, 1 / temperature, entropy);
  return {outputs[0], outputs.size() > 1 ? outputs[1] : at::Tensor()};
}

at::Tensor head_logits(const std::shared_ptr<Decoder::State>& state, const at::Tensor& hidden) {
  if (!hidden.requires_grad()) return at::mm(hidden, state->head.t());
  return LogitsFunction::apply(hidden, state);
}

}  // namespace orrery::model
