// Generation as a job calls it, beside the time in which the GPU can read what a step has to read:
// the weights once, and the keys and values of every sequence.
#include <limits>
#include <memory>

#include "models.h"
#include "orrery/base/clock.h"
#include "orrery/comm/nccl_communicator.h"  // open_gpu
#include "orrery/model/generator.h"

namespace orrery::gpu_check {

namespace {

/// Answers grow from short prompts to `context`, so that it costs little to get there; the last
/// steps are timed.
struct Lengths {
  int64_t context, prompt, timed_steps;
};

Lengths lengths_of(const Check& check) {
  if (check.is_small()) return {.context = 24, .prompt = 4, .timed_steps = 4};
  return {.context = 1024, .prompt = 16, .timed_steps = 64};
}

/// Made by the first figure that gets so far, and given back with this.
class DecoderOfSize {
 public:
  explicit DecoderOfSize(const model::Architecture& architecture) : architecture_(architecture) {}
  model::Decoder& get() {
    if (!decoder_) decoder_ = std::make_unique<model::Decoder>(random_decoder(architecture_));
    return *decoder_;
  }

 private:
  const model::Architecture& architecture_;
  std::unique_ptr<model::Decoder> decoder_;
};

/// Bytes of one decoding step.
double bytes_of_step(const model::Decoder& decoder, int64_t batch, double context) {
  const model::Architecture& a = decoder.architecture();
  // Of an embedding that is no head a row a token is read.
  const int64_t unread = a.tie_embeddings ? 0 : a.vocab_size * a.hidden_size;
  const int64_t weights = decoder.parameters().numel() - unread;
  const int64_t a_token = 2 * a.kv_size() * a.n_layers;
  return static_cast<double>(bytes_a_number(decoder)) *
         (static_cast<double>(weights) +
          static_cast<double>(batch) * context * static_cast<double>(a_token));
}

/// Seconds of one of the last steps; NaN: it was not told of them.
double seconds_of_step(const Check& check, const model::Decoder& decoder, int64_t batch) {
  const Lengths lengths = lengths_of(check);
  const model::PackedTokens prompts =
      some_sequences(batch, lengths.prompt, decoder.architecture().vocab_size);
  const std::vector<model::SamplingKey> keys(static_cast<size_t>(batch));
  const int64_t new_tokens = lengths.context - lengths.prompt;
  // The first of the new tokens is drawn by the prefill; it is told of each step before it.
  const int64_t last_step = new_tokens - 2;
  int64_t step = -1;
  base::Stopwatch watch;
  double began = 0, ended = 0;
  const auto between = [&] {
    check.figures.check_time();
    ++step;
    if (step == last_step - lengths.timed_steps) began = watch.seconds();
    if (step == last_step) ended = watch.seconds();
  };
  model::Generator(decoder).generate(prompts, keys,
                                     {.max_new_tokens = new_tokens, .max_batch = batch},
                                     {.between_tokens = between});
  if (ended <= began) return std::numeric_limits<double>::quiet_NaN();
  return (ended - began) / static_cast<double>(lengths.timed_steps);
}

void decode(Check& check, const SizedModel& model, DecoderOfSize& decoder, int64_t batch) {
  const Lengths lengths = lengths_of(check);
  const Figure figure{
      .name = "decoding",
      .shape = {{"model", model.name}, {"batch", batch}, {"context", lengths.context}},
      .unit = "tokens/s"};
  measure_model(check, figure, [&](Figure& measured) {
    const model::Decoder& made = decoder.get();
    measured.shape["type"] = type_text(computed_type(made));
    measured.value = static_cast<double>(batch) / seconds_of_step(check, made, batch);
    const double context =
        static_cast<double>(lengths.context) - static_cast<double>(lengths.timed_steps) / 2;
    const auto us = check.roofline_us(static_cast<int64_t>(bytes_of_step(made, batch, context)));
    if (us) measured.roofline = static_cast<double>(batch) / *us * 1e6;
  });
}

/// What prompts cost before the first token.
void prefill(Check& check, const SizedModel& model, DecoderOfSize& decoder,
             const MatmulRates& rates) {
  const int64_t n = check.is_small() ? 2 : 8, length = lengths_of(check).context;
  const Figure figure{.name = "prefill",
                      .shape = {{"model", model.name}, {"prompts", n}, {"length", length}},
                      .unit = "tokens/s"};
  measure_model(check, figure, [&](Figure& measured) {
    const model::Decoder& made = decoder.get();
    measured.shape["type"] = type_text(computed_type(made));
    const model::PackedTokens prompts = some_sequences(n, length, made.architecture().vocab_size);
    const std::vector<model::SamplingKey> keys(static_cast<size_t>(n));
    model::Generator generator(made);
    const auto first_tokens = [&] { generator.generate(prompts, keys, {.max_new_tokens = 1}); };
    first_tokens();
    check.figures.check_time();
    const base::Stopwatch watch;
    first_tokens();
    measured.value = static_cast<double>(n * length) / watch.seconds();
    model::Architecture without_head = made.architecture();  // which sees the last tokens only
    without_head.vocab_size = 0;
    measured.roofline =
        rates.tokens_per_second(computed_type(made), forward_operations(without_head, length));
  });
}

}  // namespace

void check_decoding(Check& check) {
  comm::open_gpu(0);
  check_copy_on_device(check);
  const MatmulRates rates(check);
  for (const SizedModel& model : models_of(check)) {
    DecoderOfSize decoder(model.architecture);
    const std::vector<int64_t> full{1, 32, 256}, small{1, 2, 8};
    for (const int64_t batch : check.is_small() ? small : full)
      decode(check, model, decoder, batch);
    prefill(check, model, decoder, rates);
  }
}

}  // namespace orrery::gpu_check
