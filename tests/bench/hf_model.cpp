// Orrery's half of tools/bench_hf.py: holds one model directory and does what a line of stdin asks,
// as often as asked, so that the other half can take its turn in between.
//
//   bench_hf_model DIR
//     generate BATCH PROMPT NEW   greedy; token t of prompt i is prompt_token(i, t)
//     train N LENGTH...           N optimizer steps over sequences of these lengths
//     rates                       GFLOP/s of a large fp32 matmul, GB/s of reading as many bytes as
//                                 the model has, again and again
//     load                        the directory once more
//   each answers with one line: numbers by name, seconds being processor time of this thread
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "orrery/base/large_memory.h"
#include "orrery/model/generator.h"
#include "orrery/model/hf_directory.h"
#include "orrery/parallel/train_engine.h"
#include "support/thread_communicator.h"

namespace orrery {
namespace {

/// Processor time: what other programs take does not count.
class Stopwatch {
 public:
  double seconds() const { return double(std::clock() - start_) / CLOCKS_PER_SEC; }
  double wall_seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - wall_start_).count();
  }

 private:
  std::clock_t start_ = std::clock();
  std::chrono::steady_clock::time_point wall_start_ = std::chrono::steady_clock::now();
};

/// The same rule in tools/bench_hf.py.
int64_t prompt_token(int64_t sequence, int64_t position, int64_t vocab_size) {
  return (sequence * 131 + position * 7919 + 17) % vocab_size;
}

at::Tensor tokens_of(const std::vector<int32_t>& lengths, int64_t vocab_size) {
  std::vector<int64_t> tokens;
  for (size_t i = 0; i < lengths.size(); ++i) {
    for (int64_t t = 0; t < lengths[i]; ++t) {
      tokens.push_back(prompt_token(int64_t(i), t, vocab_size));
    }
  }
  return at::tensor(tokens, at::kLong);
}

void print_times(const Stopwatch& watch) {
  std::cout << "seconds " << watch.seconds() << " wall " << watch.wall_seconds();
}

void generate(const model::Decoder& decoder, model::Generator& generator, std::istream& words) {
  int64_t batch = 0, prompt = 0, new_tokens = 0;
  words >> batch >> prompt >> new_tokens;
  const std::vector<int32_t> lengths(static_cast<size_t>(batch), static_cast<int32_t>(prompt));
  const model::PackedTokens prompts =
      model::pack_tokens(tokens_of(lengths, decoder.architecture().vocab_size), lengths);
  const std::vector<model::SamplingKey> keys(static_cast<size_t>(batch));
  const Stopwatch watch;
  const model::GenerationResult result =
      generator.generate(prompts, keys, {.max_new_tokens = new_tokens, .greedy = true});
  print_times(watch);
  std::cout << " tokens";
  for (const model::GeneratedSequence& sequence : result.sequences) {
    for (const int64_t token : sequence.tokens) std::cout << ' ' << token;
  }
}

class Training {
 public:
  explicit Training(model::Decoder& decoder)
      : decoder_(decoder),
        group_(std::move(comm::make_thread_communicators(1, "data").front())),
        engine_(decoder, parallel::OptimizerOptions{}, *group_) {}

  void run(std::istream& words) {
    int64_t n_steps = 0;
    words >> n_steps;
    std::vector<int32_t> lengths;
    for (int32_t length = 0; words >> length;) lengths.push_back(length);
    data::SequenceBatch batch;
    for (size_t i = 0; i < lengths.size(); ++i) batch.meta.ids.push_back({i});
    batch.set("packed_input_ids", tokens_of(lengths, decoder_.architecture().vocab_size),
              data::NestedLengths::of_single(lengths));
    double actions = 0;
    for (const int32_t length : lengths) actions += length - 1;
    double loss = 0;
    const Stopwatch watch;
    for (int64_t i = 0; i < n_steps; ++i) {
      engine_.step(batch, 1.0, actions,
                   [&](const at::Tensor& log_probs, const data::SequenceBatch&) {
                     parallel::LossResult result;
                     result.loss_sum = -log_probs.sum();
                     if (i == 0) loss = result.loss_sum.item<double>() / actions;
                     return result;
                   },
                   {});
    }
    print_times(watch);
    std::cout << " loss " << loss;
  }

 private:
  model::Decoder& decoder_;
  std::unique_ptr<comm::Communicator> group_;
  parallel::TrainEngine engine_;
};

/// The best of a few: what the machine can do when nobody disturbs it. A small model is read from a
/// cache, and that rate bounds its decoding.
void print_rates(int64_t n_parameters) {
  const int64_t n = 2048;
  const at::Tensor a = at::rand({n, n}), b = at::rand({n, n});
  at::Tensor c = at::empty({n, n});
  const int64_t count = n_parameters / 64 * 64;
  const base::LargeMemory memory(size_t(count) * sizeof(float));
  auto* const numbers = static_cast<float*>(memory.data());
  std::fill_n(numbers, count, 1.0F);
  const int64_t repeats = std::max<int64_t>(1, (int64_t{1} << 26) / count);
  double matmuls = 0, bytes = 0;
  float sums[64] = {};
  for (int i = 0; i < 5; ++i) {
    const Stopwatch watch;
    at::mm_out(c, a, b);
    matmuls = std::max(matmuls, 2e-9 * double(n) * double(n) * double(n) / watch.seconds());
    const Stopwatch reading;
    for (int64_t repeat = 0; repeat < repeats; ++repeat) {
      for (int64_t k = 0; k < count; k += 64) {
        for (int j = 0; j < 64; ++j) sums[j] += numbers[k + j];
      }
    }
    bytes = std::max(bytes, 4e-9 * double(count * repeats) / reading.seconds());
  }
  // The sums are used, so that they are made.
  std::cout << "GFLOP/s " << matmuls << " GB/s " << bytes << " sum " << sums[0] + sums[63];
}

/// Reading the directory once more.
void load(const std::string& directory) {
  const Stopwatch watch;
  const model::Decoder decoder = model::load_hf(directory, at::kFloat);
  print_times(watch);
  std::cout << " bytes " << 4 * decoder.parameters().numel();
}

void answer(const std::string& line, const std::string& directory, model::Decoder& decoder,
            model::Generator& generator, Training& training) {
  std::istringstream words(line);
  std::string verb;
  words >> verb;
  if (verb == "generate") {
    generate(decoder, generator, words);
  } else if (verb == "train") {
    training.run(words);
  } else if (verb == "rates") {
    print_rates(decoder.parameters().numel());
  } else if (verb == "load") {
    load(directory);
  } else {
    std::cout << "error unknown verb " << verb;
  }
  std::cout << std::endl;  // the other half waits for the line
}

int serve(const std::string& directory) {
  at::set_num_threads(1);
  model::Decoder decoder = model::load_hf(directory, at::kFloat);
  model::Generator generator(decoder, model::PackedWeights::kKeep);
  Training training(decoder);
  std::cout << "parameters " << decoder.parameters().numel() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    answer(line, directory, decoder, generator, training);
  }
  return 0;
}

}  // namespace
}  // namespace orrery

int main(int n_arguments, char** arguments) {
  if (n_arguments != 2) {
    std::cerr << "usage: bench_hf_model MODEL_DIRECTORY\n";
    return 2;
  }
  try {
    return orrery::serve(arguments[1]);
  } catch (const std::exception& error) {
    std::cerr << "bench_hf_model: " << error.what() << '\n';
    return 3;
  }
}
