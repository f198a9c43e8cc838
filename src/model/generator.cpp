// The loop of generation:
//
//   admit: the next waiting members take free places; prompts not seen yet are prefilled together,
//          and all their members' first tokens drawn
//   decode: one token for every sequence in a place
//   retire: finished sequences give back their place and pages
//
// until nothing waits and no place is taken. Pages: a prompt holds its pages until its last member
// is admitted; a member shares the full ones and has a copy of the last, partly filled one.
//
// All shards of a data rank run the same loop. Tensor ranks have the same logits and draw the same;
// the last stage of a pipeline tells the others what it drew.
#include "orrery/model/generator.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>   // max, sort
#include <cstddef>     // max_align_t
#include <functional>  // greater

#include "generation_pass.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/kernels/decode_attention.h"  // kPageTokens
#include "orrery/kernels/sample_rows.h"       // DrawKey
#include "orrery/kernels/sampling.h"
#include "page_pool.h"

namespace orrery::model {
namespace {

using kernels::kPageTokens;

/// Prompt tokens that one prefill takes at most, unless one prompt alone has more.
constexpr int64_t kPrefillTokens = 2048;

int64_t pages_for(int64_t n_tokens) { return (n_tokens + kPageTokens - 1) / kPageTokens; }

class Generation {
 public:
  Generation(const Decoder& decoder, const GenerationWeights& weights, const PackedTokens& prompts,
             std::span<const SamplingKey> keys, const GenerationOptions& options,
             const GenerationListener& listener)
      : shard_(decoder.shard()),
        architecture_(decoder.architecture()),
        local_(shard_architecture(architecture_, shard_.place)),
        prompts_(prompts),
        keys_(keys),
        options_(options),
        listener_(listener),
        n_prompts_(prompts.n_sequences()),
        n_sequences_(n_prompts_ * options.group_size),
        n_places_(std::min(options.max_batch, n_sequences_)),
        max_context_(longest_context()),
        table_stride_(pages_for(max_context_)),
        rule_{.greedy = options.greedy || options.temperature == 0,
              .temperature = options.temperature == 0 ? 1 : options.temperature,
              .filter = {.top_k = options.top_k, .top_p = options.top_p},
              .min_new_tokens = options.min_new_tokens,
              .stop_ids = options.stop_ids,
              .never_ids = options.never_ids},
        pass_(decoder, weights,
              std::max({n_places_, longest_prompt(), std::min(kPrefillTokens, prompts.size())}),
              max_context_),
        pages_(decoder.dtype(), local_.n_layers, worst_case_pages(),
               kernels::page_size(local_.n_kv_heads, local_.head_dim)),
        live_(static_cast<size_t>(n_prompts_)),
        page_table_(static_cast<size_t>(n_places_ * table_stride_)),
        logits_(at::empty({n_places_, architecture_.vocab_size},
                          at::TensorOptions().dtype(decoder.dtype()))),
        row_(at::empty({1, architecture_.vocab_size}, logits_.options())),
        scratch_(static_cast<size_t>(kernels::sampling_scratch_bytes(architecture_.vocab_size)) /
                     sizeof(std::max_align_t) +
                 1) {
    places_.reserve(static_cast<size_t>(n_places_));
    tokens_.reserve(static_cast<size_t>(n_places_));
    n_context_.reserve(static_cast<size_t>(n_places_));
    result_.sequences.resize(static_cast<size_t>(n_sequences_));
    for (int64_t i = 0; i < n_sequences_; ++i) {
      GeneratedSequence& sequence = result_.sequences[static_cast<size_t>(i)];
      const size_t room = static_cast<size_t>(new_tokens_of(i / options_.group_size));
      sequence.tokens.reserve(room);
      sequence.log_probs.reserve(room);
      sequence.sampling_log_probs.reserve(room);
    }
  }

  GenerationResult run() {
    while (next_ < n_sequences_ || !places_.empty()) {
      admit();
      if (listener_.between_tokens) listener_.between_tokens();
      if (!places_.empty()) decode_step();
    }
    ORRERY_ASSERT(pages_.n_held() == 0, "generation ended with pages still held");
    return std::move(result_);
  }

 private:
  /// A prompt from its prefill until its last member is admitted.
  struct LivePrompt {
    std::vector<int32_t> pages;
    std::vector<kernels::SampledToken>
        first;  // [group_size] each member's first token; empty: not yet
  };

  /// A sequence that is being decoded. Row i of page_table_ belongs to places_[i].
  struct Place {
    int64_t sequence;
    int64_t n_context;  // tokens whose keys and values are in the cache
    int64_t limit;      // new tokens it may have
  };

  int64_t prompt_length(int64_t prompt) const {
    const size_t p = static_cast<size_t>(prompt);
    return prompts_.cu_seqlens[p + 1] - prompts_.cu_seqlens[p];
  }
  int64_t longest_prompt() const {
    int64_t longest = 0;
    for (int64_t p = 0; p < n_prompts_; ++p) longest = std::max(longest, prompt_length(p));
    return longest;
  }
  int64_t new_tokens_of(int64_t prompt) const {
    return std::min(options_.max_new_tokens, architecture_.max_positions - prompt_length(prompt));
  }
  int64_t longest_context() const {
    int64_t longest = 1;
    for (int64_t p = 0; p < n_prompts_; ++p) {
      longest = std::max(longest, prompt_length(p) + new_tokens_of(p));
    }
    return longest;
  }

  /// Pages that can be held at once: the own pages of the neediest members that fill all places,
  /// and the pages of as many prompts as can be alive with them and with one prefill ahead.
  int64_t worst_case_pages() const {
    std::vector<int64_t> own, shared;
    for (int64_t p = 0; p < n_prompts_; ++p) {
      const int64_t n = prompt_length(p);
      const int64_t member = pages_for(n + new_tokens_of(p)) - n / kPageTokens;
      own.insert(own.end(), static_cast<size_t>(options_.group_size), member);
      shared.push_back(pages_for(n));
    }
    const auto sum_of_largest = [](std::vector<int64_t>& values, int64_t count) {
      std::sort(values.begin(), values.end(), std::greater<>());
      int64_t sum = 0;
      for (size_t i = 0; i < std::min(values.size(), static_cast<size_t>(count)); ++i) {
        sum += values[i];
      }
      return sum;
    };
    // Live prompts: one for each place, and those of one admission, which fill places too.
    return sum_of_largest(own, n_places_) + sum_of_largest(shared, 2 * n_places_ + 1);
  }

  void admit() {
    while (next_ < n_sequences_ && static_cast<int64_t>(places_.size()) < n_places_) {
      if (live_[static_cast<size_t>(next_ / options_.group_size)].first.empty()) prefill_next();
      admit_member(next_++);
    }
  }

  /// Prefills the prompt that is next and those after it whose members find a place now.
  void prefill_next() {
    const int64_t free_places = n_places_ - static_cast<int64_t>(places_.size());
    const int64_t first = next_ / options_.group_size;
    const int64_t last = std::min(n_sequences_ - 1, next_ + free_places - 1) / options_.group_size;
    n_context_.clear();
    cu_seqlens_.assign(1, 0);
    prefill_table_.clear();
    for (int64_t p = first; p <= last; ++p) {
      const int64_t n = prompt_length(p);
      if (p > first && cu_seqlens_.back() + n > kPrefillTokens) break;
      std::vector<int32_t>& pages = live_[static_cast<size_t>(p)].pages;
      for (int64_t page = 0; page < pages_for(n); ++page) pages.push_back(pages_.take());
      n_context_.push_back(static_cast<int32_t>(n));
      cu_seqlens_.push_back(cu_seqlens_.back() + static_cast<int32_t>(n));
      prefill_table_.insert(prefill_table_.end(), pages.begin(), pages.end());
      prefill_table_.resize(n_context_.size() * static_cast<size_t>(table_stride_));
    }
    const int64_t* ids =
        prompts_.tokens.const_data_ptr<int64_t>() + prompts_.cu_seqlens[static_cast<size_t>(first)];
    run_pass({ids, static_cast<size_t>(cu_seqlens_.back())}, prefill_table_);
    draw_first_tokens(first);
    result_.prefilled_tokens += cu_seqlens_.back();
  }

  /// n_context_.size() sequences, cut at cu_seqlens_; their logits are the first rows of logits_.
  void run_pass(std::span<const int64_t> tokens, const std::vector<int32_t>& page_table) {
    const auto n = static_cast<int64_t>(n_context_.size());
    if (!pass_logits_.defined() || pass_logits_.size(0) != n) {
      pass_logits_ = logits_.narrow(0, 0, n);
    }
    pass_.run({.tokens = tokens,
               .cu_seqlens = cu_seqlens_,
               .n_context = n_context_,
               .page_table = page_table.data(),
               .table_stride = table_stride_},
              pages_, pass_logits_);
  }

  /// For all members of the prompts that were just prefilled, from their logits.
  void draw_first_tokens(int64_t first_prompt) {
    const auto group = static_cast<size_t>(options_.group_size);
    draws_.resize(n_context_.size() * group);
    if (shard_.place.is_last_stage()) {
      for (size_t i = 0; i < draws_.size(); ++i) {
        row_.copy_(logits_.select(0, static_cast<int64_t>(i / group)));  // drawing changes them
        draws_[i] = draw(first_prompt * options_.group_size + static_cast<int64_t>(i), row_, 0);
      }
    }
    share_draws();
    for (size_t i = 0; i < n_context_.size(); ++i) {
      const auto from = draws_.begin() + static_cast<ptrdiff_t>(i * group);
      live_[static_cast<size_t>(first_prompt) + i].first.assign(
          from, from + static_cast<ptrdiff_t>(group));
    }
  }

  /// From the last stage to the others.
  void share_draws() {
    if (shard_.pipe == nullptr) return;
    static_assert(sizeof(kernels::SampledToken) == 24);
    at::Tensor bytes = at::from_blob(
        draws_.data(), {static_cast<int64_t>(draws_.size() * sizeof(kernels::SampledToken))},
        at::kByte);
    shard_.pipe->broadcast(bytes, shard_.place.n_pipe - 1);
  }

  /// Gives the member its first token; takes a place unless that finishes it.
  void admit_member(int64_t sequence) {
    const int64_t prompt = sequence / options_.group_size;
    LivePrompt& live = live_[static_cast<size_t>(prompt)];
    const bool last_member = sequence % options_.group_size == options_.group_size - 1;
    Place place{sequence, prompt_length(prompt), new_tokens_of(prompt)};
    if (!append(place, live.first[static_cast<size_t>(sequence % options_.group_size)])) {
      int32_t* table = page_table_.data() + static_cast<int64_t>(places_.size()) * table_stride_;
      const int64_t n_full = place.n_context / kPageTokens;
      for (size_t i = 0; i < live.pages.size(); ++i) {
        const int32_t page = live.pages[i];
        const bool full = static_cast<int64_t>(i) < n_full;
        if (full) pages_.share(page);
        table[i] = full ? page : pages_.copy(page);
      }
      places_.push_back(place);
    }
    if (last_member) {
      for (const int32_t page : live.pages) pages_.release(page);
      live = {};
    }
  }

  /// The next token of a sequence, from its row of logits, which it changes.
  kernels::SampledToken draw(int64_t sequence, at::Tensor& logits, int64_t row) {
    const int64_t n_generated = n_generated_of(sequence);
    const SamplingKey& key = keys_[static_cast<size_t>(sequence / options_.group_size)];
    const uint64_t member =
        key.first_member + static_cast<uint64_t>(sequence % options_.group_size);
    const double uniform = kernels::uniform_of({.seed = key.seed,
                                                .step = key.step,
                                                .sample = key.sample,
                                                .member = member,
                                                .position = static_cast<uint64_t>(n_generated)});
    return operators::draw(logits, row, rule_, n_generated, uniform, scratch_.data());
  }

  int64_t n_generated_of(int64_t sequence) const {
    return static_cast<int64_t>(result_.sequences[static_cast<size_t>(sequence)].tokens.size());
  }

  /// True: the sequence is finished.
  bool append(const Place& place, const kernels::SampledToken& draw) {
    GeneratedSequence& sequence = result_.sequences[static_cast<size_t>(place.sequence)];
    sequence.tokens.push_back(draw.token);
    sequence.log_probs.push_back(draw.log_prob);
    sequence.sampling_log_probs.push_back(draw.sampling_log_prob);
    const bool stopped = std::find(options_.stop_ids.begin(), options_.stop_ids.end(),
                                   draw.token) != options_.stop_ids.end();
    sequence.finish = stopped ? Finish::kStop : Finish::kLength;
    const bool finished = stopped || n_generated_of(place.sequence) == place.limit;
    if (finished && listener_.finished) listener_.finished(place.sequence, sequence);
    return finished;
  }

  void decode_step() {
    tokens_.clear();
    n_context_.clear();
    for (size_t i = 0; i < places_.size(); ++i) {
      Place& place = places_[i];
      if (place.n_context % kPageTokens == 0) {
        page_table_[i * static_cast<size_t>(table_stride_) +
                    static_cast<size_t>(place.n_context / kPageTokens)] = pages_.take();
      }
      ++place.n_context;
      tokens_.push_back(result_.sequences[static_cast<size_t>(place.sequence)].tokens.back());
      n_context_.push_back(static_cast<int32_t>(place.n_context));
    }
    cu_seqlens_.resize(places_.size() + 1);
    for (size_t i = 0; i < cu_seqlens_.size(); ++i) cu_seqlens_[i] = static_cast<int32_t>(i);
    run_pass(tokens_, page_table_);
    result_.decoded_tokens += static_cast<int64_t>(places_.size());
    ++result_.decode_steps;
    draw_and_retire();
  }

  /// Keeps the order of the sequences that go on.
  void draw_and_retire() {
    draws_.resize(places_.size());
    if (shard_.place.is_last_stage()) {
      for (size_t i = 0; i < places_.size(); ++i) {
        draws_[i] = draw(places_[i].sequence, logits_, static_cast<int64_t>(i));
      }
    }
    share_draws();
    size_t kept = 0;
    for (size_t i = 0; i < places_.size(); ++i) {
      const Place place = places_[i];
      int32_t* table = page_table_.data() + i * static_cast<size_t>(table_stride_);
      const int64_t n_pages = pages_for(place.n_context);
      if (append(place, draws_[i])) {
        for (int64_t page = 0; page < n_pages; ++page) pages_.release(table[page]);
        continue;
      }
      if (kept != i) {
        std::copy_n(table, n_pages, page_table_.data() + kept * static_cast<size_t>(table_stride_));
        places_[kept] = place;
      }
      ++kept;
    }
    places_.resize(kept);
  }

  const Shard& shard_;
  const Architecture& architecture_;
  const Architecture local_;  // of the shard
  const PackedTokens& prompts_;
  std::span<const SamplingKey> keys_;
  const GenerationOptions& options_;
  const GenerationListener& listener_;
  int64_t n_prompts_, n_sequences_, n_places_, max_context_, table_stride_;
  kernels::SamplingRule rule_;
  GenerationPass pass_;
  PagePool pages_;
  std::vector<LivePrompt> live_;     // [prompts]
  std::vector<int32_t> page_table_;  // [places, table_stride]
  at::Tensor logits_;                // [places, V]
  at::Tensor pass_logits_;           // those of the running pass
  at::Tensor row_;                   // [1, V] a member's copy of its prompt's logits
  std::vector<kernels::SampledToken> draws_;
  std::vector<std::max_align_t> scratch_;
  int64_t next_ = 0;  // the first sequence not admitted yet
  std::vector<Place> places_;
  std::vector<int64_t> tokens_;
  std::vector<int32_t> n_context_, cu_seqlens_;
  std::vector<int32_t> prefill_table_;  // [prompts of a prefill, table_stride]
  GenerationResult result_;
};

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
        is_masked[static_cast<size_t>(id)] = true;
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
    return Generation(decoder_, weights, prompts, keys, options, listener).run();
  }
  const std::string now = fingerprint(decoder_);
  if (kept_ == nullptr || now != kept_fingerprint_) {
    kept_.reset();  // before the new ones are made: not both at a time
    kept_ = std::make_shared<GenerationWeights>(decoder_);
    kept_fingerprint_ = now;
  }
  return Generation(decoder_, *kept_, prompts, keys, options, listener).run();
}

}  // namespace orrery::model
