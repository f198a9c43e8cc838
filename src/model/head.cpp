// hidden states -> next-token log-probabilities, a chunk of rows at a time. The logits of the whole
// batch exist only where they are small: else they are made once forwards and once more backwards,
// from the log-sum-exp that forward kept. On several tensor ranks each has the logits of its part
// of the vocabulary, and three numbers an action are exchanged.
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>  // max, min

#include "columns.h"
#include "decoder_state.h"
#include "gradient_room.h"
#include "matmul.h"
#include "orrery/base/error.h"

namespace orrery::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// A chunk's logits stay in the L2 cache, more or less, but for large vocabularies: each
/// chunk reads the head and its gradient once, which fewer rows would not pay for (32 rows of a
/// vocabulary of 50,304: a quarter of a whole training step of 125 M parameters).
constexpr int64_t kCachedChunkBytes = 4 << 20;
constexpr int64_t kManyRows = 512;
constexpr int64_t kMaxChunkBytes = 128 << 20;
constexpr int64_t kMinChunkRows = 32;
/// Logits of a whole batch that are kept for backward rather than made again.
constexpr int64_t kMaxKeptBytes = 128 << 20;

int64_t chunk_rows(int64_t row_bytes) {
  const int64_t cached = kCachedChunkBytes / row_bytes;
  return std::max({kMinChunkRows, cached, std::min(kManyRows, kMaxChunkBytes / row_bytes)});
}

/// Which rows of hidden predict, and what.
struct Actions {
  std::vector<int64_t> rows;     // [A] places in the packed batch
  std::vector<int64_t> targets;  // [A] among the shard's vocabulary; -1: another rank's

  int64_t size() const { return static_cast<int64_t>(rows.size()); }
  std::span<const int64_t> rows_of(int64_t first, int64_t count) const {
    return std::span(rows).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
  }
  std::span<const int64_t> targets_of(int64_t first, int64_t count) const {
    return std::span(targets).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
  }
};

Actions actions_of(const PackedTokens& batch, const IndexRange& vocabulary) {
  Actions actions;
  actions.rows.reserve(static_cast<size_t>(batch.n_actions()));
  actions.targets.reserve(static_cast<size_t>(batch.n_actions()));
  const int64_t* ids = batch.tokens.const_data_ptr<int64_t>();
  for (size_t s = 0; s + 1 < batch.cu_seqlens.size(); ++s) {
    for (int64_t t = batch.cu_seqlens[s]; t + 1 < batch.cu_seqlens[s + 1]; ++t) {
      actions.rows.push_back(t);
      const int64_t target = ids[t + 1] - vocabulary.first;
      actions.targets.push_back(target >= 0 && target < vocabulary.count ? target : -1);
    }
  }
  return actions;
}

/// Logits are in the type of sums: rounded to bf16 they would be off by a tenth of a nat.
int64_t logit_bytes(const Decoder::State& state) {
  return static_cast<int64_t>(c10::elementSize(arithmetic_type(state.dtype())));
}

/// Numbers of a slab that the logits of so many rows take.
int64_t logits_size(const Decoder::State& state, int64_t rows) {
  return Arena::size_of_sums(rows, state.local.vocab_size, state.dtype());
}

/// Kept from forward to backward. IValue needs an intrusive_ptr of this base.
struct HeadRecord : torch::CustomClassHolder {
  std::shared_ptr<Decoder::State> state;
  PassRows rows;
  Actions actions;
  double inverse_temperature = 1;
  at::Tensor logsumexp;  // [A]
  at::Tensor entropy;    // [A] or undefined
  at::Tensor logits;     // [A, V] or undefined: then backward makes them again
};

/// The buffers of one chunk.
struct Chunk {
  at::Tensor hidden;  // [C, H]
  at::Tensor logits;  // [C, V]
};

class Chunks {
 public:
  /// `all_logits` [A, V] or undefined: where the chunks' logits are, rather than in a buffer that
  /// each overwrites.
  Chunks(Decoder::State& state, int64_t n_actions, at::Tensor all_logits)
      : state_(state), n_actions_(n_actions), all_logits_(std::move(all_logits)) {
    const int64_t vocab_size = state.local.vocab_size;
    rows_ = std::min(n_actions, chunk_rows(vocab_size * logit_bytes(state)));
    const bool own_logits = !all_logits_.defined();
    Arena slab = state.pool.take(Arena::size_of(rows_, state.architecture.hidden_size) +
                                 (own_logits ? logits_size(state, rows_) : 0));
    hidden_ = slab.matrix(rows_, state.architecture.hidden_size);
    if (own_logits) logits_ = slab.sums(rows_, vocab_size);
  }

  enum class Logits { kCompute, kAreThere };

  /// Calls work(first action, chunk) for all chunks, with the rows' hidden states and logits.
  template <class Work>
  void for_each(const at::Tensor& hidden, const Actions& actions, Logits logits, Work&& work) {
    for (int64_t first = 0; first < n_actions_; first += rows_) {
      const int64_t count = std::min(rows_, n_actions_ - first);
      Chunk chunk{hidden_.narrow(0, 0, count), all_logits_.defined()
                                                   ? all_logits_.narrow(0, first, count)
                                                   : logits_.narrow(0, 0, count)};
      operators::take_rows(hidden, actions.rows_of(first, count), chunk.hidden);
      if (logits == Logits::kCompute) apply(state_.weights.head, chunk.hidden, chunk.logits);
      work(first, chunk);
    }
  }

 private:
  Decoder::State& state_;
  int64_t n_actions_;
  int64_t rows_;
  at::Tensor all_logits_;
  at::Tensor hidden_;
  at::Tensor logits_;
};

/// Room for the logits that a backward pass will read; undefined where they are too many.
at::Tensor kept_logits(Decoder::State& state, int64_t n_actions) {
  const int64_t vocab_size = state.local.vocab_size;
  const int64_t bytes = n_actions * vocab_size * logit_bytes(state);
  if (n_actions == 0 || bytes > kMaxKeptBytes) return {};
  return state.pool.take(logits_size(state, n_actions)).sums(n_actions, vocab_size);
}

/// These of the numbers of all actions; undefined where they are not wanted.
at::Tensor part(const at::Tensor& values, int64_t first, int64_t count) {
  return values.defined() ? values.narrow(0, first, count) : values;
}

struct HeadResult {
  at::Tensor log_probs, logsumexp, entropy;
};

/// From each rank's log-sum-exp l, entropy h and target logit x (0 where it has none) over its part
/// of the vocabulary to those of the whole: with e = l - h the rank's mean logit,
///   L = log sum exp l,  H = L - sum exp(l - L) e,  log_prob = sum x - L.
/// Collective over the tensor ranks.
void combine_vocabulary(comm::Communicator& tensor, const at::Tensor& target_logits,
                        HeadResult& result) {
  const int64_t n = result.logsumexp.numel();
  const bool has_entropy = result.entropy.defined();
  const at::Tensor mean_logit =
      has_entropy ? result.logsumexp - result.entropy : at::zeros_like(result.logsumexp);
  const at::Tensor own = at::stack({result.logsumexp, target_logits, mean_logit});
  at::Tensor all = at::empty({tensor.size(), 3, n}, own.options());
  tensor.all_gather(all, own);
  const at::Tensor parts = all.select(1, 0);
  result.logsumexp = parts.logsumexp(0);
  result.log_probs = all.select(1, 1).sum(0) - result.logsumexp;
  if (has_entropy) {
    const at::Tensor shares = (parts - result.logsumexp).exp();
    result.entropy = result.logsumexp - (shares * all.select(1, 2)).sum(0);
  }
}

/// hidden [T, H]. The logits are written to `logits` [A, V] where that is defined.
HeadResult run_head(Decoder::State& state, const at::Tensor& hidden, const Actions& actions,
                    double inverse_temperature, Entropy entropy, const at::Tensor& logits = {}) {
  HeadResult result;
  result.log_probs = at::empty({actions.size()}, state.sums());
  result.logsumexp = at::empty({actions.size()}, state.sums());
  if (entropy != Entropy::kSkip) result.entropy = at::empty({actions.size()}, state.sums());
  if (actions.size() == 0) return result;
  comm::Communicator* const tensor = state.shard.tensor;
  at::Tensor target_logits;
  if (tensor != nullptr) target_logits = at::empty({actions.size()}, state.sums());
  Chunks(state, actions.size(), logits)
      .for_each(hidden, actions, Chunks::Logits::kCompute, [&](int64_t first, const Chunk& chunk) {
        const int64_t n = chunk.logits.size(0);
        operators::token_log_probs(chunk.logits, actions.targets_of(first, n), inverse_temperature,
                                   {.log_probs = part(result.log_probs, first, n),
                                    .target_logits = part(target_logits, first, n),
                                    .logsumexp = part(result.logsumexp, first, n),
                                    .entropy = part(result.entropy, first, n)});
      });
  if (tensor != nullptr) combine_vocabulary(*tensor, target_logits, result);
  return result;
}

/// Gradient of the loss by hidden [T, H], of own vocabulary; adds to the head's gradient.
at::Tensor run_head_backward(HeadRecord& record, const at::Tensor& hidden,
                             const at::Tensor& dlog_probs, const at::Tensor& dentropy) {
  Decoder::State& state = *record.state;
  const Actions& actions = record.actions;
  at::Tensor dhidden = at::zeros(hidden.sizes(), hidden.options());
  if (actions.size() == 0) return dhidden;
  GradientRoom room;
  Linear dhead = room.of(state.gradients().head);
  Chunks chunks(state, actions.size(), record.logits);
  const auto logits =
      record.logits.defined() ? Chunks::Logits::kAreThere : Chunks::Logits::kCompute;
  record.logits.reset();  // they become their gradients: a second pass makes them again
  chunks.for_each(hidden, actions, logits, [&](int64_t first, Chunk& chunk) {
    at::Tensor& dlogits = chunk.logits;  // in place
    const int64_t n = dlogits.size(0);
    operators::token_log_probs_backward(
        dlogits, actions.targets_of(first, n), record.inverse_temperature,
        {.logsumexp = part(record.logsumexp, first, n), .entropy = part(record.entropy, first, n)},
        part(dlog_probs, first, n), part(dentropy, first, n));
    const at::Tensor factor = dlogits.to(state.dtype());
    add_weight_gradient(dhead, factor, chunk.hidden);
    multiply_into(state.amx, chunk.hidden, factor, state.weights.head.weight);
    operators::put_rows(chunk.hidden, actions.rows_of(first, n), dhidden);
  });
  room.add_to_buffer();
  return dhidden;
}

struct LogProbsFunction : torch::autograd::Function<LogProbsFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& hidden,
                               const std::shared_ptr<Decoder::State>& state,
                               const PackedTokens& batch, double inverse_temperature,
                               Entropy entropy) {
    auto record = c10::make_intrusive<HeadRecord>();
    record->state = state;
    record->rows = PassRows::cut(batch.size(), state->shard.tensor);
    record->actions = actions_of(batch, state->vocabulary());
    record->inverse_temperature = inverse_temperature;
    record->logits = kept_logits(*state, record->actions.size());
    HeadResult result = run_head(*state, gathered(record->rows, hidden), record->actions,
                                 inverse_temperature, entropy, record->logits);
    record->logsumexp = result.logsumexp;
    if (entropy == Entropy::kCompute) record->entropy = result.entropy;
    context->save_for_backward({hidden});
    context->saved_data["record"] = c10::IValue::make_capsule(std::move(record));
    variable_list outputs{result.log_probs};
    // A copy: an output that the record also held would keep its own graph alive.
    if (result.entropy.defined()) outputs.push_back(result.entropy.clone());
    if (entropy == Entropy::kMeasure) context->mark_non_differentiable({outputs[1]});
    return outputs;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto capsule = context->saved_data["record"].toCapsule();
    auto& record = static_cast<HeadRecord&>(*capsule);
    const at::Tensor hidden = gathered(record.rows, context->get_saved_variables()[0]);
    const auto dense = [](const at::Tensor& g) { return g.defined() ? g.contiguous() : g; };
    const at::Tensor dhidden =
        run_head_backward(record, hidden, dense(gradients[0]),
                          record.entropy.defined() ? dense(gradients[1]) : at::Tensor());
    return {reduced(record.rows, dhidden), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct StateHolder : torch::CustomClassHolder {
  StateHolder(std::shared_ptr<Decoder::State> held, PassRows of)
      : state(std::move(held)), rows(of) {}
  std::shared_ptr<Decoder::State> state;
  PassRows rows;
};

/// logits [T, V] of all tensor ranks' parts of the vocabulary.
at::Tensor all_logits(const Decoder::State& state, const at::Tensor& hidden) {
  at::Tensor own = at::empty({hidden.size(0), state.local.vocab_size}, state.sums());
  apply(state.weights.head, hidden, own);
  if (state.shard.tensor == nullptr) return own;
  at::Tensor all = at::empty({hidden.size(0), state.architecture.vocab_size}, state.sums());
  ColumnGather(state.shard, state.architecture.vocab_size, own.size(0), own.options())
      .gather(own, all);
  return all;
}

struct LogitsFunction : torch::autograd::Function<LogitsFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden,
                            const std::shared_ptr<Decoder::State>& state, int64_t n_tokens) {
    const PassRows rows = PassRows::cut(n_tokens, state->shard.tensor);
    context->save_for_backward({hidden});
    context->saved_data["state"] =
        c10::IValue::make_capsule(c10::make_intrusive<StateHolder>(state, rows));
    return all_logits(*state, gathered(rows, hidden));
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto capsule = context->saved_data["state"].toCapsule();
    const auto& holder = static_cast<const StateHolder&>(*capsule);
    Decoder::State& state = *holder.state;
    const at::Tensor hidden = gathered(holder.rows, context->get_saved_variables()[0]);
    const IndexRange vocabulary = state.vocabulary();
    const at::Tensor dlogits =
        gradients[0].narrow(1, vocabulary.first, vocabulary.count).to(state.dtype()).contiguous();
    GradientRoom room;
    Linear dhead = room.of(state.gradients().head);
    add_weight_gradient(dhead, dlogits, hidden);
    room.add_to_buffer();
    return {reduced(holder.rows, multiplied(state.amx, dlogits, state.weights.head.weight)),
            at::Tensor(), at::Tensor()};
  }
};

/// [R, 1] of own rows.
struct ValuesFunction : torch::autograd::Function<ValuesFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& hidden,
                            const std::shared_ptr<Decoder::State>& state) {
    context->save_for_backward({hidden});
    context->saved_data["state"] =
        c10::IValue::make_capsule(c10::make_intrusive<StateHolder>(state, PassRows{}));
    return multiplied_widely(state->amx, hidden, value_weight(*state).t());
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto capsule = context->saved_data["state"].toCapsule();
    Decoder::State& state = *static_cast<const StateHolder&>(*capsule).state;
    const at::Tensor hidden = context->get_saved_variables()[0];
    const at::Tensor dvalues = gradients[0].to(state.dtype());
    GradientRoom room;
    Linear dvalue_head = room.of(Linear{.weight = state.parameters.gradient("score.weight"),
                                        .bias = {},
                                        .panels = {},
                                        .amx = state.amx});
    add_weight_gradient(dvalue_head, dvalues, hidden);
    room.add_to_buffer();
    return {multiplied(state.amx, dvalues, value_weight(state)), at::Tensor()};
  }

  static at::Tensor value_weight(const Decoder::State& state) {
    return state.parameters.leaf("score.weight").detach();
  }
};

/// What follows is the same on all tensor ranks, and so is its gradient: each takes its own rows.
struct AllRowsFunction : torch::autograd::Function<AllRowsFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& own,
                            const std::shared_ptr<Decoder::State>& state, int64_t n_tokens) {
    const PassRows rows = PassRows::cut(n_tokens, state->shard.tensor);
    context->saved_data["state"] =
        c10::IValue::make_capsule(c10::make_intrusive<StateHolder>(state, rows));
    return gathered(rows, own).clone();
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto capsule = context->saved_data["state"].toCapsule();
    const PassRows& rows = static_cast<const StateHolder&>(*capsule).rows;
    at::Tensor all = at::zeros({rows.n_gathered, gradients[0].size(1)}, gradients[0].options());
    all.narrow(0, 0, rows.n_tokens).copy_(gradients[0]);
    return {all.narrow(0, rows.tensor->rank() * rows.n_own, rows.n_own), at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

LogProbs head_log_probs(const std::shared_ptr<Decoder::State>& state, const at::Tensor& hidden,
                        const PackedTokens& batch, double temperature, Entropy entropy) {
  if (!hidden.requires_grad()) {
    const PassRows rows = PassRows::cut(batch.size(), state->shard.tensor);
    HeadResult result = run_head(*state, gathered(rows, hidden),
                                 actions_of(batch, state->vocabulary()), 1 / temperature, entropy);
    return {result.log_probs, result.entropy};
  }
  variable_list outputs = LogProbsFunction::apply(hidden, state, batch, 1 / temperature, entropy);
  return {outputs[0], outputs.size() > 1 ? outputs[1] : at::Tensor()};
}

at::Tensor head_values(const std::shared_ptr<Decoder::State>& state, const at::Tensor& hidden) {
  return ValuesFunction::apply(hidden, state);
}

at::Tensor head_logits(const std::shared_ptr<Decoder::State>& state, const at::Tensor& hidden,
                       const PackedTokens& batch) {
  if (hidden.requires_grad()) return LogitsFunction::apply(hidden, state, batch.size());
  const PassRows rows = PassRows::cut(batch.size(), state->shard.tensor);
  return all_logits(*state, gathered(rows, hidden));
}

at::Tensor all_rows(const std::shared_ptr<Decoder::State>& state, const at::Tensor& own,
                    int64_t n_tokens) {
  if (state->shard.tensor == nullptr) return own;
  if (own.requires_grad()) return AllRowsFunction::apply(own, state, n_tokens);
  return gathered(PassRows::cut(n_tokens, state->shard.tensor), own);
}

}  // namespace orrery::model
