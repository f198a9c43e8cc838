// Generation: continuous batching over a paged KV cache. Prompts are prefilled packed, the samples
// of one prompt share its pages, a finished sequence's place goes to the next one waiting.
//
// The order of admission is the order of the prompts and, within one, of its members: it never
// depends on time. Every draw is keyed by SamplingKey and position, and each row of each matmul is
// summed in the same order whatever else is in the batch: on CPUs the tokens do not depend on
// max_batch, on the room for keys and values, or on the other prompts; on GPUs products of another
// number of rows may have other last bits (docs/gpu.md).
//
// One thread; collective over the shards of a data rank, which all get the result. All buffers are
// made at the start of generate(): a decoded token allocates nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "orrery/model/decoder.h"
#include "orrery/model/packed_tokens.h"

namespace orrery::model {

inline constexpr int64_t kNoTopK = 100'000'000;

/// Beyond these, logits of fp32 divided by the temperature are infinite or all equal.
inline constexpr double kLowestTemperature = 1e-6, kHighestTemperature = 1e6;

struct GenerationOptions {
  int64_t max_new_tokens = 256;
  int64_t min_new_tokens = 0;           // stop ids cannot be drawn before this many tokens
  double temperature = 1;               // 0: greedy, and the policy's is 1
  double top_p = 1;                     // in (0, 1]
  int64_t top_k = kNoTopK;              // >= 1
  bool greedy = false;                  // the best logit; top_p and top_k are not used
  int64_t group_size = 1;               // samples per prompt
  std::vector<int64_t> stop_ids = {};   // empty: run to max_new_tokens
  std::vector<int64_t> never_ids = {};  // never drawn: ids of the vocabulary that have no token
  int64_t max_batch = 256;              // sequences decoded at a time
  int64_t max_cache_tokens = 0;         // tokens whose keys and values have room at a time; where
                                        // that is too little the youngest sequences wait and are
                                        // prefilled again. 0: as many as could be needed
  bool measure_entropy = false;         // one more pass over a row of logits

  /// One sentence for each impossible value; empty: sound.
  std::vector<std::string> problems() const;
};

/// What max_cache_tokens is at least: pages of the longest sequence, `longest_context` tokens with
/// its answer, and of a prompt that waits for its members.
int64_t least_cache_tokens(int64_t longest_prompt, int64_t longest_context);

/// Names the noise of one prompt's samples; member i of its group draws as `first_member` + i.
struct SamplingKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  uint64_t sample = 0;  // the sample id
  uint64_t first_member = 0;
};

enum class Finish : uint8_t {
  kStop,    // the last token is a stop id
  kLength,  // max_new_tokens or max_positions was reached first
};

struct GeneratedSequence {
  std::vector<int64_t> tokens;    // the answer, with the stop id when there is one
  std::vector<double> log_probs;  // of each token under the policy: softmax(logits / temperature)
                                  // over the whole vocabulary, as training computes it
  std::vector<double> sampling_log_probs;  // under the distribution it was drawn from: after
                                           // barring, temperature, top-k, top-p; greedy: 0
  std::vector<double> entropies;  // nats, of the policy where each token was drawn; empty: not
                                  // measured
  Finish finish = Finish::kLength;
};

/// Prompt-major, member-minor: entry prompt * group_size + member.
struct GenerationResult {
  std::vector<GeneratedSequence> sequences;
  int64_t prefilled_tokens = 0;  // those of resumed sequences again
  int64_t decoded_tokens = 0;
  int64_t decode_steps = 0;
  int64_t preemptions = 0;
};

class GenerationWeights;

/// Who is told how a generation goes on, on the thread that generates; where a GPU decodes, of a
/// token when the step after its own was begun. What it does changes no token; the other shards
/// wait for it. May be empty.
struct GenerationListener {
  /// Entry `sequence` of the result has got this token, its last one included.
  std::function<void(int64_t sequence, int64_t token)> drawn = {};
  /// Entry `sequence` of the result is complete: once each, in the order in which they end.
  std::function<void(int64_t sequence, const GeneratedSequence& answer)> finished = {};
  /// Before each decoding step.
  std::function<void()> between_tokens = {};
};

/// Prompt tokens that one prefill takes at most, unless one prompt alone has more.
inline constexpr int64_t kPrefillTokens = 2048;

/// Generation reads a copy of the weights in another order, as large as they are.
enum class PackedWeights {
  kPerCall,  // made by each call of generate() and given back: after every step they are others
  kKeep,     // kept, and made again only when a parameter has changed
};

class Generator {
 public:
  /// Keeps a reference: `decoder` must outlive the generator.
  explicit Generator(const Decoder& decoder, PackedWeights packed = PackedWeights::kPerCall);

  /// Reads the decoder's parameters as they are at the call.
  ///   keys  one for each prompt
  /// Throws ConfigError (options), ShapeError or DataError (prompts; also a prompt that leaves no
  /// position free).
  GenerationResult generate(const PackedTokens& prompts, std::span<const SamplingKey> keys,
                            const GenerationOptions& options,
                            const GenerationListener& listener = {});

 private:
  const Decoder& decoder_;
  PackedWeights packed_;
  std::shared_ptr<const GenerationWeights> kept_;  // kKeep
  std::string kept_fingerprint_;
};

/// Prompts and answers as training reads them. T tokens and A = T - N actions over N sequences,
/// prompt-major, member-minor.
struct PackedGeneration {
  std::vector<int32_t> lengths;  // [N] prompt + answer, the stop id included
  at::Tensor packed_input_ids;   // [T] int64
  at::Tensor packed_logprobs;    // [A] of the policy; 0 for actions inside the prompt
  at::Tensor sampling_logprobs;  // [A] of the distribution drawn from, likewise
  at::Tensor entropies;          // [A] of the policy, likewise; undefined: not measured
  at::Tensor prompt_mask;        // [T] bool, true on prompt tokens
  at::Tensor seq_no_eos_mask;    // [N] bool, true where the answer was cut by its length
};

/// Log-probabilities and entropies are rounded to `dtype`: kFloat or kDouble.
/// Throws ShapeError unless result.sequences has group_size entries for each prompt.
PackedGeneration pack_generation(const PackedTokens& prompts, const GenerationResult& result,
                                 int64_t group_size, at::ScalarType dtype);

}  // namespace orrery::model
