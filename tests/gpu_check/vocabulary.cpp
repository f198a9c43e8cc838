// Kernels over rows of logits of a vocabulary of Qwen2.5's size: sampling, and log-probabilities
// with their gradient. Rows repeat, so that the CPU computes few of them. Sampling finds its logits
// in the L2 cache where they fit, as it does after the head's matmul; its roofline reads them once.
#include "check.h"
#include "orrery/kernels/sample_rows.h"
#include "orrery/kernels/token_log_probs.h"

namespace orrery::gpu_check {

namespace {

constexpr int64_t kVocabSize = 151'936;
/// Log-probabilities of float: sums of exponentials in another order, whose roundings mostly
/// cancel.
constexpr double kAllowedLogProb = 1e-4;

int64_t vocab_size(const Check& check) { return check.is_small() ? 1000 : kVocabSize; }

struct Rule {
  const char* name;
  double temperature;
  int64_t top_k;
  double top_p;
};
constexpr Rule kRules[] = {
    {"all", 1, INT64_MAX, 1}, {"top_k 50", 0.7, 50, 1}, {"top_k 50, top_p 0.9", 0.7, 50, 0.9}};

kernels::SampleRowsArgs<float> sampling_args(const Rule& rule, int64_t n_rows, int64_t vocab) {
  return {.n_rows = n_rows,
          .vocab_size = vocab,
          .top_k = rule.top_k,
          .top_p = rule.top_p,
          .temperature = rule.temperature};
}

void check_sampling_case(const Check& check, const Rule& rule, int64_t rows, Figure& figure) {
  const int64_t vocab = vocab_size(check), n_different = std::min<int64_t>(rows, 4);
  const auto logits = random_numbers<float>(n_different * vocab, 8, 3);
  std::vector<kernels::DrawKey> keys;
  for (int64_t row = 0; row < n_different; ++row) {
    keys.push_back({.seed = 11, .step = 3, .sample = static_cast<uint64_t>(row)});
  }
  const DeviceArray<float> gpu_logits(logits, rows * vocab);
  const DeviceArray<uint8_t> scratch({0}, kernels::sample_rows_scratch_bytes(rows, vocab));
  const DeviceArray<kernels::DrawKey> gpu_keys(keys, rows);
  const DeviceArray<int64_t> tokens(std::vector<int64_t>{-1}, rows);
  const DeviceArray<double> log_probs(std::vector<double>{0}, rows);
  const DeviceArray<double> sampling_log_probs(std::vector<double>{0}, rows);

  const double seconds = check.timer.in_graph([&](int64_t, cudaStream_t stream) {
    auto args = sampling_args(rule, rows, vocab);
    args.logits = gpu_logits.get();
    args.scratch = scratch.get();
    args.keys = gpu_keys.get();
    args.tokens = tokens.get();
    args.log_probs = log_probs.get();
    args.sampling_log_probs = sampling_log_probs.get();
    kernels::sample_rows_cuda(args, stream);
  });

  std::vector<float> cpu_logits = logits;
  std::vector<int64_t> cpu_tokens(keys.size());
  std::vector<double> cpu_log_probs(keys.size()), cpu_sampling_log_probs(keys.size());
  auto args = sampling_args(rule, n_different, vocab);
  args.logits = cpu_logits.data();
  args.keys = keys.data();
  args.tokens = cpu_tokens.data();
  args.log_probs = cpu_log_probs.data();
  args.sampling_log_probs = cpu_sampling_log_probs.data();
  kernels::sample_rows(args);

  figure.value = seconds * 1e6;
  figure.roofline = check.roofline_us(gpu_logits.size_bytes());
  figure.compared = {compare(tokens, cpu_tokens, 0), compare(log_probs, cpu_log_probs, 1e-5),
                     compare(sampling_log_probs, cpu_sampling_log_probs, 1e-5)};
}

/// The numbers of a chunk of rows on the CPU, which repeat on the GPU.
struct LogProbs {
  int64_t n_different, vocab;
  std::vector<float> logits = random_numbers<float>(n_different * vocab, 8, 4);
  std::vector<int64_t> targets = {};
  std::vector<float> log_probs = result(), logsumexp = result(), entropy = result();
  // As large as the vocabulary, so that the gradient of each of its logits is seen.
  std::vector<float> dlog_probs = random_numbers<float>(n_different, static_cast<float>(vocab), 5);
  std::vector<float> dentropy = random_numbers<float>(n_different, static_cast<float>(vocab), 6);

  std::vector<float> result() const { return std::vector<float>(static_cast<size_t>(n_different)); }
  LogProbs(int64_t rows, int64_t vocab_size) : n_different(rows), vocab(vocab_size) {
    for (int64_t row = 0; row < rows; ++row) targets.push_back(row * 7919 % vocab);
    kernels::token_log_probs<float>({.logits = logits.data(),
                                     .targets = targets.data(),
                                     .log_probs = log_probs.data(),
                                     .logsumexp = logsumexp.data(),
                                     .entropy = entropy.data(),
                                     .n_rows = rows,
                                     .vocab_size = vocab});
  }
  /// By the logits.
  std::vector<float> gradient() const {
    std::vector<float> dlogits = logits;
    kernels::token_log_probs_backward<float>({.logits = dlogits.data(),
                                              .targets = targets.data(),
                                              .logsumexp = logsumexp.data(),
                                              .entropy = entropy.data(),
                                              .dlog_probs = dlog_probs.data(),
                                              .dentropy = dentropy.data(),
                                              .n_rows = n_different,
                                              .vocab_size = vocab});
    return dlogits;
  }
};

void check_forward(const Check& check, int64_t rows, Figure& figure) {
  const LogProbs cpu(std::min<int64_t>(rows, 4), vocab_size(check));
  const DeviceArray<float> logits(cpu.logits, rows * cpu.vocab);
  const DeviceArray<int64_t> targets(cpu.targets, rows);
  const std::vector<float> nothing = {0};
  const DeviceArray<float> log_probs(nothing, rows), logsumexp(nothing, rows),
      entropy(nothing, rows);

  figure.value = 1e6 * check.timer.in_graph([&](int64_t, cudaStream_t stream) {
    kernels::token_log_probs_cuda<float>({.logits = logits.get(),
                                          .targets = targets.get(),
                                          .log_probs = log_probs.get(),
                                          .logsumexp = logsumexp.get(),
                                          .entropy = entropy.get(),
                                          .n_rows = rows,
                                          .vocab_size = cpu.vocab},
                                         stream);
  });

  figure.roofline = check.roofline_us(logits.size_bytes());
  figure.compared = {compare(log_probs, cpu.log_probs, kAllowedLogProb),
                     compare(logsumexp, cpu.logsumexp, kAllowedLogProb),
                     compare(entropy, cpu.entropy, kAllowedLogProb)};
}

void check_backward(const Check& check, int64_t rows, Figure& figure) {
  const LogProbs cpu(std::min<int64_t>(rows, 4), vocab_size(check));
  const DeviceArray<float> logits(cpu.logits, rows * cpu.vocab);
  const DeviceArray<float> dlogits(cpu.logits, rows * cpu.vocab);
  const DeviceArray<int64_t> targets(cpu.targets, rows);
  const DeviceArray<float> logsumexp(cpu.logsumexp, rows), entropy(cpu.entropy, rows),
      dlog_probs(cpu.dlog_probs, rows), dentropy(cpu.dentropy, rows);

  figure.value =
      1e6 * check.timer.in_graph_after(
                [&](int64_t, cudaStream_t stream) {
                  copy_async(dlogits.get(), logits.get(), logits.size_bytes(), stream);
                },
                [&](int64_t, cudaStream_t stream) {
                  kernels::token_log_probs_backward_cuda<float>({.logits = dlogits.get(),
                                                                 .targets = targets.get(),
                                                                 .logsumexp = logsumexp.get(),
                                                                 .entropy = entropy.get(),
                                                                 .dlog_probs = dlog_probs.get(),
                                                                 .dentropy = dentropy.get(),
                                                                 .n_rows = rows,
                                                                 .vocab_size = cpu.vocab},
                                                                stream);
                });

  figure.roofline = check.roofline_us(2 * logits.size_bytes());
  figure.compared = {compare(dlogits, cpu.gradient(), kAllowedLogProb)};
}

nlohmann::ordered_json shape_of(const Check& check, int64_t rows) {
  return {{"rows", rows}, {"vocabulary", vocab_size(check)}, {"type", "fp32"}};
}

}  // namespace

void check_sampling(Check& check) {
  const std::vector<int64_t> batches =
      check.is_small() ? std::vector<int64_t>{1, 5} : std::vector<int64_t>{1, 32, 256};
  for (const Rule& rule : kRules) {
    for (const int64_t rows : batches) {
      Figure figure{.name = "sampling", .shape = shape_of(check, rows), .unit = "us"};
      figure.shape["filter"] = rule.name;
      check.figures.measure(
          figure, [&](Figure& measured) { check_sampling_case(check, rule, rows, measured); });
    }
  }
}

void check_log_probs(Check& check) {
  const int64_t rows = check.is_small() ? 5 : 1024;
  check.figures.measure({.name = "token_log_probs", .shape = shape_of(check, rows), .unit = "us"},
                        [&](Figure& figure) { check_forward(check, rows, figure); });
  check.figures.measure(
      {.name = "token_log_probs_backward", .shape = shape_of(check, rows), .unit = "us"},
      [&](Figure& figure) { check_backward(check, rows, figure); });
}

}  // namespace orrery::gpu_check
