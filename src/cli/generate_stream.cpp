#include "generate_stream.h"

#include <unistd.h>  // isatty

#include <algorithm>
#include <cstring>
#include <iostream>
#include <memory>
#include <optional>

#include "orrery/base/clock.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/data/text_stream.h"
#include "packed_sequences.h"
#include "prompt_reader.h"

namespace orrery::cli {

namespace {

/// The prompts one after the other. Rank 0.
class Prompts {
 public:
  Prompts(const PromptReader& reader, const TokenSequences& given)
      : reader_(reader), given_(given), is_typed_(::isatty(STDIN_FILENO) != 0) {}

  /// Nothing: there is none left.
  std::optional<std::vector<int64_t>> next() {
    if (!given_.empty()) {
      if (n_taken_ == given_.size()) return std::nullopt;
      return given_[n_taken_++];
    }
    std::string line;
    do {
      if (is_typed_) std::cerr << "> " << std::flush;
      if (!std::getline(std::cin, line)) {
        if (is_typed_) std::cerr << "\n";
        return std::nullopt;
      }
      ++n_lines_;
    } while (base::trim(line).empty());
    return reader_.ids_of(line, base::concat("standard input: line ", n_lines_));
  }

 private:
  const PromptReader& reader_;
  const TokenSequences& given_;
  bool is_typed_;
  size_t n_taken_ = 0;
  int64_t n_lines_ = 0;
};

/// The text of one answer on standard output. Rank 0.
class AnswerText {
 public:
  AnswerText(const data::Tokenizer& tokenizer, const std::vector<int64_t>& stop_ids)
      : stream_(tokenizer), stop_ids_(stop_ids) {}

  void add(int64_t token) {
    const bool ends = std::find(stop_ids_.begin(), stop_ids_.end(), token) != stop_ids_.end();
    if (!ends) write(stream_.add(static_cast<int32_t>(token)));
  }
  void finish() { write(stream_.finish() + "\n"); }

 private:
  static void write(const std::string& text) {
    std::cout << text << std::flush;
    if (!std::cout) throw OutputError("standard output cannot be written: nobody reads it");
  }

  data::TextStream stream_;
  const std::vector<int64_t>& stop_ids_;
};

std::string bytes_of(int64_t token) {
  return {reinterpret_cast<const char*>(&token), sizeof(token)};
}

int64_t token_of(const std::string& bytes) {
  int64_t token = 0;
  ORRERY_ASSERT(bytes.size() == sizeof(token), "one token for each message");
  std::memcpy(&token, bytes.data(), sizeof(token));
  return token;
}

}  // namespace

int stream_answers(const CommandRanks& ranks, const ModelShard& shard, const StreamJob& job) {
  constexpr int kPiece = 0;
  std::optional<PromptReader> reader;
  std::optional<Prompts> prompts;
  if (ranks.is_master()) {
    reader.emplace(job.source, job.options.add_bos);
    prompts.emplace(*reader, job.prompts);
  }
  std::unique_ptr<model::Generator> generator;
  if (shard.has_decoder() && shard.at().data == 0) {
    generator = std::make_unique<model::Generator>(shard.decoder(), model::PackedWeights::kKeep);
  }

  PieceTotals totals;
  uint64_t sample = 0;
  for (;; ++sample) {
    const CommandRanks::Start start = ranks.start([&] {
      const std::optional<std::vector<int64_t>> prompt = prompts->next();
      return prompt ? pack_bytes({*prompt}) : std::string();
    });
    if (!start.bytes) return start.exit_code;
    if (start.bytes->empty()) break;
    const TokenSequences prompt = unpack_sequences(*start.bytes);

    const base::Stopwatch watch;
    std::optional<AnswerText> answer;
    if (ranks.is_master()) answer.emplace(reader->tokenizer(), job.generation.stop_ids);
    const auto show = [&](int64_t token) {
      answer->add(token);
      ++totals.tokens;
    };
    if (generator != nullptr) {
      const bool sends = !ranks.is_single() && shard.is_dp_head();
      model::GenerationListener listener;
      if (ranks.is_single()) listener.drawn = [&](int64_t, int64_t token) { show(token); };
      if (sends) {
        listener.drawn = [&](int64_t, int64_t token) {
          ranks.send_result(kPiece, bytes_of(token));
        };
      }
      const model::SamplingKey key{.seed = job.options.seed, .sample = sample};
      generator->generate(pack_sequences(prompt), {&key, 1}, job.generation, listener);
      if (sends) ranks.send_result(kPiece, {});
    } else if (ranks.is_master()) {
      const std::chrono::duration<double> deadline(job.options.run.deadline_seconds);
      for (;;) {
        const CommandRanks::Result result = ranks.receive_result(deadline);
        if (result.bytes.empty()) break;
        show(token_of(result.bytes));
      }
    }
    if (answer) answer->finish();
    totals.seconds += watch.seconds();
  }
  if (ranks.is_master()) print_totals("generate", sample, totals);
  return 0;
}

}  // namespace orrery::cli
