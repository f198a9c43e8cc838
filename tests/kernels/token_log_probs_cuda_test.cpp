// The GPU's log-probabilities and their gradients against the CPU's.
#include <limits>

#include "blocks/token_log_probs.h"
#include "gpu_for_test.h"
#include "kernel_references.h"

namespace orrery::kernels {
namespace {

template <class T>
struct Case {
  int64_t n_rows, vocab_size;
  std::vector<T> logits, log_probs, target_logits, logsumexp, entropy, dlog_probs, dentropy;
  std::vector<int64_t> targets;

  Case(int64_t rows, int64_t vocab)
      : n_rows(rows),
        vocab_size(vocab),
        logits(random_numbers<T>(rows * vocab, 1)),
        log_probs(size_t(rows), T(7)),
        target_logits(log_probs),
        logsumexp(log_probs),
        entropy(log_probs),
        dlog_probs(random_numbers<T>(rows, 2)),
        dentropy(random_numbers<T>(rows, 3)) {
    for (T& logit : logits) logit *= T(10);
    for (int64_t row = 0; row < rows; ++row) {
      targets.push_back(row % 3 == 2 ? -1 : row * 7919 % vocab);
      // The largest last, and numbers that were removed: a running maximum must take both.
      if (row % 2 == 1 && vocab > 1) {
        logits[size_t((row + 1) * vocab - 1)] = T(30);
        logits[size_t(row * vocab)] = std::numeric_limits<T>::lowest();
      }
    }
  }

  TokenLogProbsArgs<T> forward() {
    return {.logits = logits.data(),
            .targets = targets.data(),
            .log_probs = log_probs.data(),
            .target_logits = target_logits.data(),
            .logsumexp = logsumexp.data(),
            .entropy = entropy.data(),
            .n_rows = n_rows,
            .vocab_size = vocab_size,
            .inverse_temperature = 0.8};
  }
  TokenLogProbsBackwardArgs<T> backward() {
    return {.logits = logits.data(),
            .targets = targets.data(),
            .logsumexp = logsumexp.data(),
            .entropy = entropy.data(),
            .dlog_probs = dlog_probs.data(),
            .dentropy = dentropy.data(),
            .n_rows = n_rows,
            .vocab_size = vocab_size,
            .inverse_temperature = 0.8};
  }
};

/// Sums of up to 10,007 exponentials, whose roundings mostly cancel.
template <class T>
constexpr double kLimit = sizeof(T) == 4 ? 1e-4 : 1e-12;

template <class T>
void expect_same_forward(const Case<T>& got, const Case<T>& reference) {
  expect_near(got.log_probs, as_doubles(reference.log_probs), kLimit<T>);
  expect_near(got.target_logits, as_doubles(reference.target_logits), kLimit<T>);
  expect_near(got.logsumexp, as_doubles(reference.logsumexp), kLimit<T>);
  expect_near(got.entropy, as_doubles(reference.entropy), kLimit<T>);
}

/// Calls compare(rows, vocabulary) for rows and vocabularies of every size, though not every pair.
template <class Compare>
void for_each_size(const Compare& compare) {
  for (const int64_t n : kGpuSizes) {
    SCOPED_TRACE(n);
    compare(int64_t{3}, n == 0 ? int64_t{1} : n);
    compare(n > 33 ? int64_t{211} : n, int64_t{33});
  }
}

template <class T>
void compare_blocks() {
  for_each_size([](int64_t rows, int64_t vocab) {
    Case<T> reference(rows, vocab), got(rows, vocab), other(rows, vocab);
    token_log_probs<T>(reference.forward());
    blocks::simulate<blocks::TokenLogProbsProgram<T>>(got.forward());
    blocks::simulate<blocks::TokenLogProbsProgram<T>>(other.forward(),
                                                      blocks::ThreadOrder::kBackward);
    expect_same_forward(got, reference);
    EXPECT_EQ(got.entropy, other.entropy) << "threads race";

    token_log_probs_backward<T>(reference.backward());
    blocks::simulate<blocks::TokenLogProbsBackwardProgram<T>>(got.backward());
    expect_near(got.logits, as_doubles(reference.logits), kLimit<T>);
  });
}

TEST(TokenLogProbsBlocks, GiveWhatTheCpuGives) {
  compare_blocks<float>();
  compare_blocks<double>();
}

TEST(TokenLogProbsBlocks, LeaveOutWhatIsNotWanted) {
  Case<float> reference(3, 33), got(3, 33);
  const auto fewer = [](Case<float>& c) {
    TokenLogProbsArgs<float> args = c.forward();
    args.target_logits = args.entropy = nullptr;
    return args;
  };
  token_log_probs<float>(fewer(reference));
  blocks::simulate<blocks::TokenLogProbsProgram<float>>(fewer(got));
  expect_same_forward(got, reference);

  TokenLogProbsBackwardArgs<float> reference_args = reference.backward(), args = got.backward();
  reference_args.dentropy = args.dentropy = nullptr;
  reference_args.entropy = args.entropy = nullptr;
  token_log_probs_backward<float>(reference_args);
  blocks::simulate<blocks::TokenLogProbsBackwardProgram<float>>(args);
  expect_near(got.logits, as_doubles(reference.logits), kLimit<float>);
}

template <class T>
void compare_on_gpu() {
  for_each_size([](int64_t rows, int64_t vocab) {
    Case<T> reference(rows, vocab), got(rows, vocab);
    token_log_probs<T>(reference.forward());
    const OnGpu logits(got.logits), log_probs(got.log_probs), target_logits(got.target_logits),
        logsumexp(got.logsumexp), entropy(got.entropy), dlog_probs(got.dlog_probs),
        dentropy(got.dentropy);
    const OnGpu targets(got.targets);
    TokenLogProbsArgs<T> args = got.forward();
    args.logits = logits.get();
    args.targets = targets.get();
    args.log_probs = log_probs.get();
    args.target_logits = target_logits.get();
    args.logsumexp = logsumexp.get();
    args.entropy = entropy.get();

    token_log_probs_cuda<T>(args, nullptr);

    got.log_probs = log_probs.host();
    got.target_logits = target_logits.host();
    got.logsumexp = logsumexp.host();
    got.entropy = entropy.host();
    expect_same_forward(got, reference);

    token_log_probs_backward<T>(reference.backward());
    TokenLogProbsBackwardArgs<T> backward = got.backward();
    backward.logits = logits.get();
    backward.targets = targets.get();
    backward.logsumexp = logsumexp.get();
    backward.entropy = entropy.get();
    backward.dlog_probs = dlog_probs.get();
    backward.dentropy = dentropy.get();

    token_log_probs_backward_cuda<T>(backward, nullptr);

    expect_near(logits.host(), as_doubles(reference.logits), kLimit<T>);
  });
}

TEST(TokenLogProbsCuda, GivesWhatTheCpuGives) {
  ORRERY_NEEDS_GPU();
  compare_on_gpu<float>();
  compare_on_gpu<double>();
}

/// Of bf16 logits: what the CPU gives from the same numbers in float, and its gradient rounded.
void compare_bf16(Place place) {
  const int64_t n_rows = 3, vocab = 1009;
  std::vector<Bf16> logits = random_stored<Bf16>(n_rows * vocab, 1);
  std::vector<float> as_floats;
  for (Bf16& x : logits) as_floats.push_back(to_float(x = to_bf16(10 * to_float(x))));
  std::vector<int64_t> targets{5, -1, vocab - 1};
  const auto numbers = [&] { return std::vector<float>(size_t(n_rows), 7); };
  std::vector<float> log_probs = numbers(), logsumexp = numbers(), entropy = numbers();
  std::vector<float> cpu_log_probs = numbers(), cpu_logsumexp = numbers(), cpu_entropy = numbers();
  std::vector<float> dlog_probs = random_numbers<float>(n_rows, 2);
  std::vector<float> dentropy = random_numbers<float>(n_rows, 3);

  const TokenLogProbsArgs<Bf16> forward{.logits = place.of(logits),
                                        .targets = place.of(targets),
                                        .log_probs = place.of(log_probs),
                                        .logsumexp = place.of(logsumexp),
                                        .entropy = place.of(entropy),
                                        .n_rows = n_rows,
                                        .vocab_size = vocab,
                                        .inverse_temperature = 0.8};
  place.run([&] { token_log_probs_cuda(forward, nullptr); },
            [&](const auto& runner) {
              runner.template run<blocks::TokenLogProbsProgram<Bf16>>(forward);
            });
  token_log_probs<float>({.logits = as_floats.data(),
                          .targets = targets.data(),
                          .log_probs = cpu_log_probs.data(),
                          .logsumexp = cpu_logsumexp.data(),
                          .entropy = cpu_entropy.data(),
                          .n_rows = n_rows,
                          .vocab_size = vocab,
                          .inverse_temperature = 0.8});
  expect_near(log_probs, as_doubles(cpu_log_probs), kLimit<float>);
  expect_near(entropy, as_doubles(cpu_entropy), kLimit<float>);

  const TokenLogProbsBackwardArgs<Bf16> backward{.logits = place.of(logits),
                                                 .targets = place.of(targets),
                                                 .logsumexp = place.of(logsumexp),
                                                 .entropy = place.of(entropy),
                                                 .dlog_probs = place.of(dlog_probs),
                                                 .dentropy = place.of(dentropy),
                                                 .n_rows = n_rows,
                                                 .vocab_size = vocab,
                                                 .inverse_temperature = 0.8};
  place.run([&] { token_log_probs_backward_cuda(backward, nullptr); },
            [&](const auto& runner) {
              runner.template run<blocks::TokenLogProbsBackwardProgram<Bf16>>(backward);
            });
  token_log_probs_backward<float>({.logits = as_floats.data(),
                                   .targets = targets.data(),
                                   .logsumexp = cpu_logsumexp.data(),
                                   .entropy = cpu_entropy.data(),
                                   .dlog_probs = dlog_probs.data(),
                                   .dentropy = dentropy.data(),
                                   .n_rows = n_rows,
                                   .vocab_size = vocab,
                                   .inverse_temperature = 0.8});
  expect_near(as_doubles(logits), as_doubles(as_floats), stored_bound<Bf16>());
}

ORRERY_COMPARE_KERNEL(TokenLogProbsOfBf16, compare_bf16)

}  // namespace
}  // namespace orrery::kernels
