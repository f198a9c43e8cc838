// `orrery generate`: continues prompts. What is drawn for a prompt depends on the seed and its
// place in the input, not on the layout.
#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>

#include "commands.h"
#include "generate_stream.h"
#include "model_shard.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/data/bpe_tokenizer.h"  // check_tokenizer_files
#include "orrery/model/generator.h"
#include "packed_sequences.h"
#include "prompt_reader.h"
#include "text_file.h"

namespace orrery::cli {

namespace {

constexpr const char* kHelp =
    R"(orrery generate: continues prompts

  orrery generate --model DIR (--tokens F.json | --prompts F.jsonl) --out F.json
      --max-new-tokens N [--greedy | --temperature T --top-p P --top-k K --seed S] [--eos ID]
      [--add-bos auto|true|false] [--chat] [--layout L]
  orrery generate --model DIR --prompt "TEXT" [--max-new-tokens N] ...
                                      the text as it comes, token by token, on standard output;
                                      --prompt - continues each line of standard input
  mpirun -n N+1 orrery generate ...   a master and N workers

in:   {"sequences": [[ids...], ...]}, or lines {"prompt": "text"} for --prompts
out:  {"sequences": [[...], ...],     what was generated, without the prompt, in the order of the
                                      input; an end token is the last one
       "logprobs": [[...], ...],      of each of these tokens under the model at temperature T,
                                      over its whole vocabulary
       "sampling_logprobs": [[...]],  under the distribution that it was drawn from: after top-p,
                                      top-k and masked tokens (with --greedy 0)
       "finish": ["eos"|"length"]}    an end token came, or N tokens or the model's context are full
      with --prompts also "texts"     without the end token
The same input, options and seed give the same tokens on every layout. Ids that are no token of the
model's tokenizer.json are never drawn.

)";

std::string pack_result(const model::GenerationResult& result) {
  std::vector<int64_t> words;
  for (const model::GeneratedSequence& sequence : result.sequences) {
    words.push_back(std::ssize(sequence.tokens));
    words.push_back(sequence.finish == model::Finish::kStop ? 1 : 0);
    words.insert(words.end(), sequence.tokens.begin(), sequence.tokens.end());
    for (const auto* list : {&sequence.log_probs, &sequence.sampling_log_probs}) {
      for (const double value : *list) words.push_back(std::bit_cast<int64_t>(value));
    }
  }
  return {reinterpret_cast<const char*>(words.data()), words.size() * sizeof(int64_t)};
}

std::vector<model::GeneratedSequence> unpack_result(const std::string& bytes) {
  std::vector<int64_t> words(bytes.size() / sizeof(int64_t));
  std::memcpy(words.data(), bytes.data(), words.size() * sizeof(int64_t));
  std::vector<model::GeneratedSequence> sequences;
  for (auto word = words.begin(); word != words.end();) {
    model::GeneratedSequence sequence;
    const int64_t n = *word++;
    sequence.finish = *word++ == 1 ? model::Finish::kStop : model::Finish::kLength;
    sequence.tokens.assign(word, word + n);
    word += n;
    for (auto* list : {&sequence.log_probs, &sequence.sampling_log_probs}) {
      for (int64_t t = 0; t < n; ++t) list->push_back(std::bit_cast<double>(*word++));
    }
    sequences.push_back(std::move(sequence));
  }
  return sequences;
}

model::GenerationOptions generation_options(const config::GenerateOptions& options,
                                            const model::Architecture& architecture) {
  model::GenerationOptions generation{.max_new_tokens = options.max_new_tokens,
                                      .min_new_tokens = options.min_new_tokens,
                                      .temperature = options.temperature,
                                      .top_p = options.top_p,
                                      .top_k = options.top_k > 0 ? options.top_k : model::kNoTopK,
                                      .greedy = options.greedy,
                                      .stop_ids = options.eos.value_or(architecture.eos_tokens),
                                      .max_batch = options.max_batch};
  for (const int64_t id : options.eos.value_or(std::vector<int64_t>{})) {
    if (id < architecture.vocab_size) continue;
    throw ConfigError(
        base::concat("orrery generate: --eos ", id),
        {.expected = base::concat("a token id from 0 to ", architecture.vocab_size - 1,
                                  ", the vocabulary of the model, or -1"),
         .got = base::concat(id),
         .advice = "leave --eos out to use the model's own end tokens"});
  }
  const std::vector<std::string> problems = generation.problems();
  if (!problems.empty()) {
    throw ConfigError(base::concat("orrery generate: ", base::join(problems, "; ")));
  }
  return generation;
}

/// Ids that are no token of the tokenizer beside the weights; none where it cannot be told.
/// `reader`: of prompts that are text. Rank 0.
std::vector<int64_t> ids_never_drawn(const config::GenerateOptions& options,
                                     const ModelSource& source, const PromptReader* reader) {
  data::check_tokenizer_files(source.directory);
  if (!base::exists(source.directory / "tokenizer.json")) return {};
  std::unique_ptr<data::Tokenizer> beside_ids;
  if (reader == nullptr) {
    try {
      beside_ids = data::make_tokenizer(source.directory.string());
    } catch (const Error& error) {
      base::log_warning(base::concat("ids beyond the tokenizer are not masked: ", error.what()));
      return {};
    }
    require_vocabulary(source, *beside_ids);
  }
  const data::Tokenizer& tokenizer = reader == nullptr ? *beside_ids : reader->tokenizer();
  std::vector<int64_t> ids = data::ids_without_token(tokenizer, source.architecture.vocab_size);
  for (const int64_t id : options.eos.value_or(std::vector<int64_t>{})) std::erase(ids, id);
  return ids;
}

/// The ids of the prompts, checked; none: they are the lines of standard input. Rank 0.
TokenSequences read_prompts(const config::GenerateOptions& options, const ModelSource& source,
                            const PromptReader* reader) {
  if (reader == nullptr) return read_token_file(options.run.tokens, prompt_limits(source));
  if (options.reads_lines()) return {};
  if (options.prompt) return {reader->ids_of(*options.prompt, "--prompt")};
  TokenSequences sequences;
  for (const std::string& prompt : read_prompt_file(options.prompts)) {
    sequences.push_back(
        reader->ids_of(prompt, base::concat(options.prompts, ": prompt ", sequences.size() + 1)));
  }
  return sequences;
}

std::string text_of(const std::vector<model::GeneratedSequence>& sequences,
                    const data::Tokenizer* tokenizer) {
  JsonLists out;
  out.begin("sequences");
  for (const model::GeneratedSequence& s : sequences) out.integers(s.tokens);
  out.begin("logprobs");
  for (const model::GeneratedSequence& s : sequences) out.numbers(s.log_probs);
  out.begin("sampling_logprobs");
  for (const model::GeneratedSequence& s : sequences) out.numbers(s.sampling_log_probs);
  out.begin("finish");
  for (const model::GeneratedSequence& s : sequences) {
    out.text(s.finish == model::Finish::kStop ? "eos" : "length");
  }
  if (tokenizer != nullptr) {
    out.begin("texts");
    for (const model::GeneratedSequence& s : sequences) {
      std::vector<int32_t> ids(s.tokens.begin(), s.tokens.end());
      if (s.finish == model::Finish::kStop) ids.pop_back();
      out.text(tokenizer->decode(ids));
    }
  }
  if (out.n_not_finite() > 0) {
    base::log_warning(base::concat(out.n_not_finite(),
                                   " log-probabilities are not finite and stand as null in the "
                                   "output; --check looks for such weights"));
  }
  return out.take();
}

int generate(const CommandRanks& ranks, std::span<const std::string> arguments) {
  ModelSource source;
  std::unique_ptr<PromptReader> reader;  // rank 0, of prompts that are text
  const CommandRanks::Start start = ranks.start([&] {
    const config::GenerateOptions options = config::parse_generate_options(arguments);
    const config::ModelRunOptions& run = options.run;
    if (!options.prompt) check_output(run.out);
    source = open_model(run.model, run.role, SourceCheck::kHashes);
    if (source.architecture.value_head) {
      throw ConfigError(base::concat("orrery generate: --model ", run.model),
                        {.expected = "a language model",
                         .got = "a model with a value head, which gives no tokens",
                         .advice = "orrery score writes its values"});
    }
    generation_options(options, source.architecture);
    layout_for(run.layout, ranks.n_workers(), source.architecture);
    if (run.tokens.empty()) {
      reader = std::make_unique<PromptReader>(source, options.add_bos, options.chat);
    }
    TokenSequences sequences = read_prompts(options, source, reader.get());
    sequences.push_back(ids_never_drawn(options, source, reader.get()));  // rides along
    return pack_bytes(sequences);
  });
  if (!start.bytes) return start.exit_code;

  const config::GenerateOptions options = config::parse_generate_options(arguments);
  TokenSequences prompts = unpack_sequences(*start.bytes);
  if (!ranks.is_master())
    source = open_model(options.run.model, options.run.role, SourceCheck::kStructure);
  model::GenerationOptions generation = generation_options(options, source.architecture);
  generation.never_ids = std::move(prompts.back());
  prompts.pop_back();
  const graph::Layout layout =
      layout_for(options.run.layout, ranks.n_workers(), source.architecture);
  const ModelShard::Loaded loaded = ModelShard::load(ranks, source, layout, options.run);
  if (loaded.exit_code != 0) return loaded.exit_code;
  if (options.prompt) {
    return stream_answers(ranks, *loaded.shard,
                          {.options = options,
                           .reader = reader.get(),
                           .generation = generation,
                           .prompts = std::move(prompts)});
  }

  // Neighbours: an even share of each data rank, but no more than are decoded at a time.
  const size_t share =
      (prompts.size() + static_cast<size_t>(layout.data) - 1) / static_cast<size_t>(layout.data);
  const size_t piece_size = std::clamp<size_t>(share, 1, static_cast<size_t>(options.max_batch));
  const auto piece_of = [&](int piece) {
    const size_t begin = static_cast<size_t>(piece) * piece_size;
    return std::pair(begin, std::min(begin + piece_size, prompts.size()));
  };
  std::vector<model::GeneratedSequence> answers(prompts.size());
  PieceWork work;
  for (size_t begin = 0; begin < prompts.size(); begin += piece_size) {
    const size_t end = std::min(begin + piece_size, prompts.size());
    int64_t cost = 0;
    for (size_t i = begin; i < end; ++i) cost += std::ssize(prompts[i]) + options.max_new_tokens;
    work.costs.push_back(cost);
  }
  std::unique_ptr<model::Generator> generator;
  if (loaded.shard->has_decoder()) {
    generator =
        std::make_unique<model::Generator>(loaded.shard->decoder(), model::PackedWeights::kKeep);
  }
  work.compute = [&](int piece) {
    const auto [begin, end] = piece_of(piece);
    std::vector<model::SamplingKey> keys;
    for (size_t i = begin; i < end; ++i) keys.push_back({.seed = options.seed, .sample = i});
    return pack_result(generator->generate(
        pack_sequences(std::span(prompts).subspan(begin, end - begin)), keys, generation));
  };
  work.take = [&](int piece, const std::string& bytes) {
    const auto [begin, end] = piece_of(piece);
    std::vector<model::GeneratedSequence> sequences = unpack_result(bytes);
    ORRERY_ASSERT(sequences.size() == end - begin, "one answer for each prompt of a piece");
    int64_t tokens = 0;
    for (size_t i = begin; i < end; ++i) {
      answers[i] = std::move(sequences[i - begin]);
      tokens += std::ssize(answers[i].tokens);
    }
    return tokens;
  };
  const PieceTotals totals =
      run_pieces(ranks, *loaded.shard, layout, work,
                 std::chrono::duration<double>(options.run.deadline_seconds));
  if (!ranks.is_master()) return 0;
  write_output(options.run.out,
               text_of(answers, reader == nullptr ? nullptr : &reader->tokenizer()));
  print_totals("generate", prompts.size(), totals);
  return 0;
}

}  // namespace

int run_generate(std::span<const std::string> arguments) {
  if (asks_for_help(arguments)) {
    std::cout << kHelp << config::generate_options_help();
    return 0;
  }
  return run_on_ranks([&](CommandRanks& ranks) { return generate(ranks, arguments); });
}

}  // namespace orrery::cli
