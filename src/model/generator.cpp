#include "orrery/model/generator.h"

#include <algorithm>  // find, max, min

#include "generation_loop.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"

namespace orrery::model {
namespace {

/// The longest sequence must go on where all others wait.
void check_cache(const Architecture& architecture, const PackedTokens& prompts,
                 const GenerationOptions& options) {
  if (options.max_cache_tokens == 0) return;
  const int64_t longest = prompts.longest();
  const int64_t least = least_cache_tokens(
      longest, std::min(longest + options.max_new_tokens, architecture.max_positions));
  if (options.max_cache_tokens >= least) return;
  throw ConfigError(
      "max_cache_tokens of a generation",
      {.expected = base::concat("at least ", least, ", for a prompt of ",
                                base::counted(longest, "token"), " and an answer to it"),
       .got = base::concat(options.max_cache_tokens),
       .advice = "raise it, lower max_new_tokens, or leave it out: as many as could be needed"});
}

void check(const Architecture& architecture, const PackedTokens& prompts,
           std::span<const SamplingKey> keys, const GenerationOptions& options) {
  std::vector<std::string> problems = options.problems();
  if (architecture.value_head) {
    problems.push_back("the model has a value head: it gives no probabilities of tokens");
  }
  std::vector<bool> is_masked(static_cast<size_t>(architecture.vocab_size));
  const auto mask = [&](const std::vector<int64_t>& ids, const char* name) {
    for (const int64_t id : ids) {
      if (id >= 0 && id < architecture.vocab_size) {
        is_masked[base::index(id)] = true;
        continue;
      }
      problems.push_back(
          base::concat(name, id, " is outside the vocabulary of ", architecture.vocab_size));
    }
  };
  mask(options.never_ids, "masked token ");
  if (options.min_new_tokens > 0) mask(options.stop_ids, "stop id ");
  if (std::find(is_masked.begin(), is_masked.end(), false) == is_masked.end()) {
    problems.push_back("every token is masked: none is left to draw");
  }
  if (options.min_new_tokens == 0) mask(options.stop_ids, "stop id ");
  if (!problems.empty()) {
    throw ConfigError("impossible generation options", {.expected = "values in range",
                                                        .got = base::join(problems, "; "),
                                                        .advice = "correct the call's options"});
  }
  if (static_cast<int64_t>(keys.size()) != prompts.n_sequences()) {
    throw ShapeError("sampling keys and prompts disagree",
                     {.expected = base::concat(base::counted(prompts.n_sequences(), "key"),
                                               ", one for each prompt"),
                      .got = base::concat(keys.size()),
                      .advice = "make a key from each sample id"});
  }
  check_tokens(prompts, architecture.vocab_size, architecture.max_positions - 1);
  check_cache(architecture, prompts, options);
}

}  // namespace

Generator::Generator(const Decoder& decoder, PackedWeights packed)
    : decoder_(decoder), packed_(packed) {}

GenerationResult Generator::generate(const PackedTokens& prompts, std::span<const SamplingKey> keys,
                                     const GenerationOptions& options,
                                     const GenerationListener& listener) {
  check(decoder_.architecture(), prompts, keys, options);
  if (prompts.n_sequences() == 0) return {};
  if (packed_ == PackedWeights::kPerCall) {
    const GenerationWeights weights(decoder_);
    return GenerationLoop(decoder_, weights, prompts, keys, options, listener).run();
  }
  const std::string now = fingerprint(decoder_);
  if (kept_ == nullptr || now != kept_fingerprint_) {
    kept_.reset();  // before the new ones are made: not both at a time
    kept_ = std::make_shared<GenerationWeights>(decoder_);
    kept_fingerprint_ = now;
  }
  return GenerationLoop(decoder_, *kept_, prompts, keys, options, listener).run();
}

}  // namespace orrery::model
