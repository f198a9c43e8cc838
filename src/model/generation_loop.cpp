#include "generation_loop.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>   // copy_n, find, max, max_element, min, sort
#include <functional>  // greater

#include "grouped_experts.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/kernels/decode_attention.h"  // kPageTokens
#include "orrery/kernels/sample_rows.h"       // DrawKey

namespace orrery::model {
namespace {

using kernels::kPageTokens;

int64_t pages_for(int64_t n_tokens) { return (n_tokens + kPageTokens - 1) / kPageTokens; }

kernels::SamplingRule sampling_rule(const GenerationOptions& options) {
  return {.greedy = options.greedy || options.temperature == 0,
          .temperature = options.temperature == 0 ? 1 : options.temperature,
          .filter = {.top_k = options.top_k, .top_p = options.top_p},
          .min_new_tokens = options.min_new_tokens,
          .stop_ids = options.stop_ids,
          .never_ids = options.never_ids};
}

/// On GPUs with all layers. The stages of a pipeline wait for what the last one draws.
bool decodes_ahead(const Decoder& decoder) {
  return decoder.parameters().values().is_cuda() && decoder.shard().pipe == nullptr;
}

/// Experts that are not grouped wait for the device to learn who was chosen, tensor ranks for each
/// other's arguments where these are compared.
StepGraphs::Use use_of_graphs(const Decoder& decoder, const GenerationWeights& weights) {
  const comm::Communicator* const tensor = decoder.shard().tensor;
  bool waits = tensor != nullptr && tensor->checks_agreement();
  for (const LayerWeights& layer : weights.shard().layers) {
    waits |= layer.has_experts() && !can_group(layer.experts);
  }
  return waits ? StepGraphs::Use::kNever : StepGraphs::Use::kFromSecondStep;
}

}  // namespace

int64_t least_cache_tokens(int64_t longest_prompt, int64_t longest_context) {
  return (pages_for(longest_prompt) + pages_for(longest_context)) * kPageTokens;
}

GenerationLoop::GenerationLoop(const Decoder& decoder, const GenerationWeights& weights,
                               const PackedTokens& prompts, std::span<const SamplingKey> keys,
                               const GenerationOptions& options, const GenerationListener& listener)
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
      longest_prompt_(prompts.longest()),
      max_context_(std::min(longest_prompt_ + options.max_new_tokens, architecture_.max_positions)),
      table_stride_(pages_for(max_context_)),
      matmul_rows_(decoder.parameters().values().is_cuda() ? MatmulRows::on_gpu(options.max_batch)
                                                           : MatmulRows{}),
      max_rows_(std::max({matmul_rows_.filled_up(n_places_), longest_prompt_,
                          std::min(kPrefillTokens, prompts.size())})),
      rule_(sampling_rule(options)),
      pass_(decoder, weights, matmul_rows_, max_rows_, matmul_rows_.filled_up(n_places_),
            max_context_),
      worst_case_pages_(worst_case_pages()),
      is_limited_(options.max_cache_tokens > 0 &&
                  options.max_cache_tokens / kPageTokens < worst_case_pages_),
      pages_(decoder.parameters().values().options(), local_.n_layers,
             (is_limited_ ? options.max_cache_tokens / kPageTokens : worst_case_pages_) +
                 (decodes_ahead(decoder) ? 1 : 0),  // that of rows that are nobody's
             kernels::page_size(local_.n_kv_heads, local_.head_dim)),
      live_(static_cast<size_t>(n_prompts_)),
      page_table_(static_cast<size_t>(n_places_ * table_stride_)),
      logits_(at::empty({matmul_rows_.filled_up(n_places_), architecture_.vocab_size},
                        decoder.parameters().values().options().dtype(decoder.dtype()))),
      // The host draws row after row, a GPU all that there is room for.
      members_(at::empty({logits_.is_cpu() || !shard_.place.is_last_stage() ? 1 : n_places_,
                          architecture_.vocab_size},
                         logits_.options())),
      draw_scratch_(shard_.place.is_last_stage() ? operators::draw_scratch(logits_)
                                                 : at::Tensor()) {
  places_.reserve(static_cast<size_t>(n_places_));
  tokens_.reserve(static_cast<size_t>(n_places_));
  n_context_.reserve(static_cast<size_t>(n_places_));
  result_.sequences.resize(static_cast<size_t>(n_sequences_));
  for (int64_t i = 0; i < n_sequences_; ++i) {
    GeneratedSequence& sequence = result_.sequences[base::index(i)];
    const size_t room = static_cast<size_t>(new_tokens_of(prompt_of(i)));
    sequence.tokens.reserve(room);
    sequence.log_probs.reserve(room);
    sequence.sampling_log_probs.reserve(room);
    if (options_.measure_entropy) sequence.entropies.reserve(room);
  }
  if (decodes_ahead(decoder)) {
    ahead_ = std::make_unique<DecodeAhead>(
        pass_, pages_,
        DecodeAhead::Drawing{.logits = logits_,
                             .rule = rule_,
                             .measure_entropy = options_.measure_entropy,
                             .scratch = draw_scratch_},
        table_stride_,
        StepGraphs(logits_.device(), use_of_graphs(decoder, weights), shard_.tensor));
  }
}

GenerationResult GenerationLoop::run() {
  while (next_ < n_sequences_ || !places_.empty() || !preempted_.empty()) {
    const int64_t admitted = next_, resumed = result_.prefilled_tokens,
                  steps = result_.decode_steps;
    const bool has_unread = !unread_.empty();
    resume();
    if (preempted_.empty()) admit();
    if (listener_.between_tokens) listener_.between_tokens();
    if (!places_.empty()) decode_step();
    ORRERY_ASSERT(next_ > admitted || result_.prefilled_tokens > resumed ||
                      result_.decode_steps > steps || has_unread,
                  "no sequence of a generation can go on");
  }
  if (!unread_.empty()) read_step();  // of sequences that had ended
  ahead_.reset();
  ORRERY_ASSERT(pages_.n_held() == 0, "generation ended with pages still held");
  return std::move(result_);
}

int64_t GenerationLoop::prompt_length(int64_t prompt) const {
  const size_t p = static_cast<size_t>(prompt);
  return prompts_.cu_seqlens[p + 1] - prompts_.cu_seqlens[p];
}

const int64_t* GenerationLoop::prompt_tokens(int64_t prompt) const {
  return prompts_.tokens.const_data_ptr<int64_t>() + prompts_.cu_seqlens[base::index(prompt)];
}

int64_t GenerationLoop::new_tokens_of(int64_t prompt) const {
  return std::min(options_.max_new_tokens, architecture_.max_positions - prompt_length(prompt));
}

int64_t GenerationLoop::n_generated_of(int64_t sequence) const {
  return static_cast<int64_t>(result_.sequences[base::index(sequence)].tokens.size());
}

/// Whether it is part of the next decoding step, as far as its length tells.
bool GenerationLoop::goes_on(const Place& place) const {
  return n_generated_of(place.sequence) + place.n_unread < place.limit;
}

/// Pages that can be held at once: the own pages of the neediest members that fill all places,
/// and the pages of as many prompts as can be alive with them and with one prefill ahead.
int64_t GenerationLoop::worst_case_pages() const {
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

/// Whether so many pages may be taken for a sequence that joins. Each of those that are decoded may
/// be at the end of a page: one is left for it, so that nobody joins only to be preempted.
bool GenerationLoop::has_room(int64_t n_pages) const {
  return !is_limited_ || pages_.n_free() >= n_pages + static_cast<int64_t>(places_.size());
}

int32_t* GenerationLoop::table_row(size_t place) {
  return page_table_.data() + place * static_cast<size_t>(table_stride_);
}

void GenerationLoop::resume() {
  while (!preempted_.empty() && static_cast<int64_t>(places_.size()) < n_places_) {
    const int64_t sequence = *preempted_.begin();
    const int64_t n_tokens = prompt_length(prompt_of(sequence)) + n_generated_of(sequence);
    if (!has_room(pages_for(n_tokens + 1))) return;  // its next token may begin a page
    resume_first();
  }
}

/// The prompt as it came first, then the answer's tokens, each as its decoding step saw it; the
/// last one's logits give the next.
void GenerationLoop::resume_first() {
  const int64_t sequence = *preempted_.begin();
  preempted_.erase(preempted_.begin());
  const int64_t prompt = prompt_of(sequence), n_prompt = prompt_length(prompt);
  const std::vector<int64_t>& answer = result_.sequences[base::index(sequence)].tokens;
  const int64_t n_context = n_prompt + n_generated_of(sequence);
  const Place place{sequence, n_context, pages_for(n_context), new_tokens_of(prompt)};
  int32_t* const table = table_row(places_.size());
  for (int64_t page = 0; page < place.n_pages; ++page) table[page] = pages_.take();
  result_.prefilled_tokens += place.n_context;

  const auto run = [&](std::span<const int64_t> tokens, int64_t context, Tokens kind) {
    n_context_.assign(1, static_cast<int32_t>(context));
    cu_seqlens_ = {0, static_cast<int32_t>(tokens.size())};
    run_pass(tokens, table, kind);
  };
  run({prompt_tokens(prompt), static_cast<size_t>(n_prompt)}, n_prompt, Tokens::kOfPrompts);
  for (int64_t done = 0; done < n_generated_of(sequence); done += max_rows_) {
    const int64_t count = std::min(max_rows_, n_generated_of(sequence) - done);
    run(std::span(answer).subspan(static_cast<size_t>(done), static_cast<size_t>(count)),
        n_prompt + done + count, Tokens::kOfAnswers);
  }

  compute_logits();
  draws_.resize(1);
  draw_keys_.assign(1, key_of(sequence));
  if (shard_.place.is_last_stage()) draw(pass_logits_, 0);
  share_draws();
  const bool is_over = append(place, draws_[0]);
  add_place(place);
  if (is_over) remove_place(places_.size() - 1);
}

void GenerationLoop::admit() {
  while (next_ < n_sequences_ && static_cast<int64_t>(places_.size()) < n_places_) {
    const bool is_prefilled = !live_[static_cast<size_t>(prompt_of(next_))].first.empty();
    if (is_prefilled ? !has_room(1) : !prefill_next()) return;
    admit_member(next_++);
  }
}

/// Prefills the prompt that is next and those after it whose members find a place and pages now.
/// Only the last of them may have members that do not: one prompt at a time holds pages for members
/// that wait, and least_cache_tokens() counts on it. False: there is no room for one.
bool GenerationLoop::prefill_next() {
  const int64_t free_places = n_places_ - static_cast<int64_t>(places_.size());
  const int64_t first = prompt_of(next_);
  const int64_t end = std::min(n_sequences_, next_ + free_places);  // of the members
  n_context_.clear();
  cu_seqlens_.assign(1, 0);
  prefill_table_.clear();
  // What admitting a member asks for: its copy of a page, and one that is left for its next.
  constexpr int64_t kPagesOfAMember = 2;
  int64_t of_members = 0;
  for (int64_t p = first; p <= prompt_of(end - 1); ++p) {
    const int64_t n = prompt_length(p);
    if (p > first && cu_seqlens_.back() + n > kPrefillTokens) break;
    if (!has_room(of_members + pages_for(n) + 1)) break;
    const int64_t first_member = std::max(next_, p * options_.group_size);
    of_members += kPagesOfAMember * (std::min(end, (p + 1) * options_.group_size) - first_member);
    std::vector<int32_t>& pages = live_[base::index(p)].pages;
    for (int64_t page = 0; page < pages_for(n); ++page) pages.push_back(pages_.take());
    n_context_.push_back(static_cast<int32_t>(n));
    cu_seqlens_.push_back(cu_seqlens_.back() + static_cast<int32_t>(n));
    prefill_table_.insert(prefill_table_.end(), pages.begin(), pages.end());
    prefill_table_.resize(n_context_.size() * static_cast<size_t>(table_stride_));
  }
  if (n_context_.empty()) return false;
  run_pass({prompt_tokens(first), static_cast<size_t>(cu_seqlens_.back())}, prefill_table_.data(),
           Tokens::kOfPrompts);
  compute_logits();
  draw_first_tokens(first);
  result_.prefilled_tokens += cu_seqlens_.back();
  return true;
}

/// n_context_.size() sequences, cut at cu_seqlens_.
void GenerationLoop::run_pass(std::span<const int64_t> tokens, const int32_t* page_table,
                              Tokens kind) {
  pass_.run({.tokens = tokens,
             .cu_seqlens = cu_seqlens_,
             .n_context = n_context_,
             .page_table = page_table,
             .table_stride = table_stride_,
             .kind = kind},
            pages_);
}

/// Of the sequences of the pass that was just run, to the first rows of logits_.
void GenerationLoop::compute_logits() {
  const auto n = static_cast<int64_t>(n_context_.size());
  if (!pass_logits_.defined() || pass_logits_.size(0) != n) {
    pass_logits_ = logits_.narrow(0, 0, n);
  }
  at::Tensor filled_up = logits_.narrow(0, 0, matmul_rows_.filled_up(n));
  pass_.compute_logits(filled_up);
}

/// For all members of the prompts that were just prefilled, from their logits.
void GenerationLoop::draw_first_tokens(int64_t first_prompt) {
  const auto group = static_cast<size_t>(options_.group_size);
  draws_.resize(n_context_.size() * group);
  const auto most = static_cast<size_t>(members_.size(0));
  for (size_t first = 0; shard_.place.is_last_stage() && first < draws_.size(); first += most) {
    const size_t end = std::min(draws_.size(), first + most);
    std::vector<int64_t> rows;
    draw_keys_.clear();
    for (size_t i = first; i < end; ++i) {
      rows.push_back(static_cast<int64_t>(i / group));
      draw_keys_.push_back(key_of(first_prompt * options_.group_size + static_cast<int64_t>(i)));
    }
    at::Tensor own = members_.narrow(0, 0, static_cast<int64_t>(rows.size()));
    operators::take_rows(pass_logits_, rows, own);  // drawing changes them
    draw(own, first);
  }
  share_draws();
  for (size_t i = 0; i < n_context_.size(); ++i) {
    const auto from = draws_.begin() + static_cast<ptrdiff_t>(i * group);
    live_[static_cast<size_t>(first_prompt) + i].first.assign(from,
                                                              from + static_cast<ptrdiff_t>(group));
  }
}

/// From the last stage to the others.
void GenerationLoop::share_draws() {
  if (shard_.pipe == nullptr) return;
  static_assert(sizeof(Draw) == 32);
  at::Tensor bytes =
      at::from_blob(draws_.data(), {static_cast<int64_t>(draws_.size() * sizeof(Draw))}, at::kByte);
  shard_.pipe->broadcast(bytes, shard_.place.n_pipe - 1);
}

/// Gives the member its first token; takes a place unless that finishes it.
void GenerationLoop::admit_member(int64_t sequence) {
  const int64_t prompt = prompt_of(sequence), member = sequence % options_.group_size;
  LivePrompt& live = live_[base::index(prompt)];
  const Place place{sequence, prompt_length(prompt), static_cast<int64_t>(live.pages.size()),
                    new_tokens_of(prompt)};
  if (!append(place, live.first[base::index(member)])) {
    int32_t* const table = table_row(places_.size());
    const int64_t n_full = place.n_context / kPageTokens;
    for (size_t i = 0; i < live.pages.size(); ++i) {
      const int32_t page = live.pages[i];
      const bool full = static_cast<int64_t>(i) < n_full;
      if (full) pages_.share(page);
      table[i] = full ? page : pages_.copy(page);
    }
    add_place(place);
  }
  if (member == options_.group_size - 1) {
    for (const int32_t page : live.pages) pages_.release(page);
    live = {};
  }
}

/// Of the next token of a sequence.
kernels::DrawKey GenerationLoop::key_of(int64_t sequence) const {
  const SamplingKey& key = keys_[base::index(prompt_of(sequence))];
  return {.seed = key.seed,
          .step = key.step,
          .sample = key.sample,
          .member = key.first_member + static_cast<uint64_t>(sequence % options_.group_size),
          .position = static_cast<uint64_t>(n_generated_of(sequence))};
}

/// For each row of logits, which it changes, by draw_keys_: to the draws from `first` on.
void GenerationLoop::draw(at::Tensor& logits, size_t first) {
  operators::draw_rows(logits, rule_, draw_keys_, options_.measure_entropy, draw_scratch_,
                       std::span(draws_).subspan(first, draw_keys_.size()));
  check_groups();
}

/// Where tokens are the host's now, and go on to others at once.
void GenerationLoop::check_groups() {
  for (comm::Communicator* const group : {shard_.tensor, shard_.pipe}) {
    if (group != nullptr) group->throw_if_failed();
  }
}

/// True: the sequence is finished.
bool GenerationLoop::append(const Place& place, const Draw& draw) {
  GeneratedSequence& sequence = result_.sequences[base::index(place.sequence)];
  sequence.tokens.push_back(draw.token);
  sequence.log_probs.push_back(draw.log_prob);
  sequence.sampling_log_probs.push_back(draw.sampling_log_prob);
  if (options_.measure_entropy) sequence.entropies.push_back(draw.entropy);
  if (listener_.drawn) listener_.drawn(place.sequence, draw.token);
  const bool stopped = std::find(options_.stop_ids.begin(), options_.stop_ids.end(), draw.token) !=
                       options_.stop_ids.end();
  sequence.finish = stopped ? Finish::kStop : Finish::kLength;
  const bool finished = stopped || n_generated_of(place.sequence) == place.limit;
  if (finished && listener_.finished) listener_.finished(place.sequence, sequence);
  return finished;
}

/// With its pages in the next row of the table, and a token that was drawn.
void GenerationLoop::add_place(Place place) {
  if (ahead_ != nullptr) {
    place.slot = ahead_->join(result_.sequences[base::index(place.sequence)].tokens.back(),
                              place.n_context, key_of(place.sequence),
                              {table_row(places_.size()), static_cast<size_t>(place.n_pages)});
  }
  places_.push_back(place);
}

/// One for each sequence whose next token begins a page. False: there was none for one, so the step
/// whose tokens were not known was read; what ended may have left room for others.
bool GenerationLoop::take_pages() {
  for (size_t i = 0; i < places_.size();) {
    Place& place = places_[i];
    if (!goes_on(place) || place.n_context < place.n_pages * kPageTokens) {
      ++i;
    } else if (pages_.n_free() > 0) {
      const int32_t page = table_row(i)[place.n_pages] = pages_.take();
      if (ahead_ != nullptr) ahead_->give_page(place.slot, place.n_pages, page);
      ++place.n_pages;
    } else if (!unread_.empty()) {
      read_step();
      return false;
    } else if (preempt_youngest() < i) {
      --i;
    }
  }
  return true;
}

/// The sequence that comes last in the order of admission: a place behind others of it that resumed
/// may be that of an older one. Returns the place that it had.
size_t GenerationLoop::preempt_youngest() {
  const auto youngest =
      std::max_element(places_.begin(), places_.end(),
                       [](const Place& a, const Place& b) { return a.sequence < b.sequence; });
  const auto place = static_cast<size_t>(youngest - places_.begin());
  preempted_.insert(youngest->sequence);
  ++result_.preemptions;
  remove_place(place);
  return place;
}

/// Gives back what it holds.
void GenerationLoop::leave_place(size_t place) {
  for (int64_t page = 0; page < places_[place].n_pages; ++page) {
    pages_.release(table_row(place)[page]);
  }
  if (ahead_ != nullptr) ahead_->leave(places_[place].slot);
}

void GenerationLoop::remove_place(size_t place) {
  remove_places([place](size_t i) { return i == place; });
}

/// Those for which is_over(place) holds, asked of each once and in order. The order of those that
/// go on is kept.
template <class IsOver>
void GenerationLoop::remove_places(const IsOver& is_over) {
  size_t kept = 0;
  for (size_t i = 0; i < places_.size(); ++i) {
    if (is_over(i)) {
      leave_place(i);
      continue;
    }
    if (kept != i) {
      std::copy_n(table_row(i), places_[i].n_pages, table_row(kept));
      places_[kept] = places_[i];
    }
    ++kept;
  }
  places_.resize(kept);
}

void GenerationLoop::decode_step() {
  if (!take_pages() || places_.empty()) return;
  if (ahead_ == nullptr) {
    decode_now();
  } else {
    decode_ahead();
  }
}

void GenerationLoop::decode_now() {
  tokens_.clear();
  n_context_.clear();
  draw_keys_.clear();
  for (Place& place : places_) {
    ++place.n_context;
    tokens_.push_back(result_.sequences[base::index(place.sequence)].tokens.back());
    n_context_.push_back(static_cast<int32_t>(place.n_context));
    draw_keys_.push_back(key_of(place.sequence));
  }
  cu_seqlens_.resize(places_.size() + 1);
  for (size_t i = 0; i < cu_seqlens_.size(); ++i) cu_seqlens_[i] = static_cast<int32_t>(i);
  run_pass(tokens_, page_table_.data(), Tokens::kOfAnswers);
  compute_logits();
  result_.decoded_tokens += static_cast<int64_t>(places_.size());
  ++result_.decode_steps;
  draws_.resize(places_.size());
  if (shard_.place.is_last_stage()) draw(pass_logits_, 0);
  share_draws();
  remove_places([&](size_t i) { return append(places_[i], draws_[i]); });
}

/// Enqueues a step, then reads the one before.
void GenerationLoop::decode_ahead() {
  std::vector<int64_t> sequences;
  std::vector<int32_t> slots;
  for (Place& place : places_) {
    if (!goes_on(place)) continue;
    ++place.n_context;
    ++place.n_unread;
    sequences.push_back(place.sequence);
    slots.push_back(place.slot);
  }
  if (!slots.empty()) {
    ahead_->step(slots);
    ++result_.decode_steps;
  }
  if (!unread_.empty()) read_step();
  unread_ = std::move(sequences);
}

/// Those that ended before the step are in it, but have no place any more; those that joined since
/// have one behind all of its sequences.
void GenerationLoop::read_step() {
  ahead_->read(draws_);
  check_groups();
  size_t row = 0;
  remove_places([&](size_t i) {
    Place& place = places_[i];
    while (row < unread_.size() && unread_[row] != place.sequence) ++row;
    if (row == unread_.size()) return false;
    --place.n_unread;
    ++result_.decoded_tokens;
    return append(place, draws_[row++]);
  });
  unread_.clear();
}

}  // namespace orrery::model
