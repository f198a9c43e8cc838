#include "generate_stream.h"

#include <unistd.h>  // isatty

#include <algorithm>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>

#include "orrery/base/clock.h"
#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/data/text_stream.h"
#include "packed_sequences.h"

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

using OnToken = std::function<void(int64_t)>;

/// Generates on the first data rank and tells rank 0 of each token. Collective over all ranks.
class AnswerGenerator {
 public:
  AnswerGenerator(const CommandRanks& ranks, const ModelShard& shard, const StreamJob& job)
      : ranks_(ranks), job_(job) {
    if (!shard.has_decoder() || shard.at().data != 0) return;
    generator_ = std::make_unique<model::Generator>(shard.decoder(), model::PackedWeights::kKeep);
    sends_ = !ranks.is_single() && shard.is_dp_head();
  }

  /// `show` is called on rank 0.
  void generate(const TokenSequences& prompt, uint64_t sample, const OnToken& show) {
    if (generator_ == nullptr) {
      if (ranks_.is_master()) receive(show);
      return;
    }
    model::GenerationListener listener;
    if (ranks_.is_single()) listener.drawn = [&](int64_t, int64_t token) { show(token); };
    if (sends_) {
      listener.drawn = [&](int64_t, int64_t token) { ranks_.send_result(kPiece, bytes_of(token)); };
    }
    const model::SamplingKey key{.seed = job_.options.seed, .sample = sample};
    generator_->generate(pack_sequences(prompt), {&key, 1}, job_.generation, listener);
    if (sends_) ranks_.send_result(kPiece, {});  // the end
  }

 private:
  static constexpr int kPiece = 0;

  void receive(const OnToken& show) {
    const std::chrono::duration<double> deadline(job_.options.run.deadline_seconds);
    for (;;) {
      const CommandRanks::Result result = ranks_.receive_result(deadline);
      if (result.bytes.empty()) return;
      show(token_of(result.bytes));
    }
  }

  const CommandRanks& ranks_;
  const StreamJob& job_;
  std::unique_ptr<model::Generator> generator_;  // null on ranks that draw nothing
  bool sends_ = false;
};

}  // namespace

int stream_answers(const CommandRanks& ranks, const ModelShard& shard, const StreamJob& job) {
  std::optional<Prompts> prompts;
  if (ranks.is_master()) prompts.emplace(*job.reader, job.prompts);
  AnswerGenerator generator(ranks, shard, job);
  PieceTotals totals;
  uint64_t sample = 0;
  for (;; ++sample) {
    const CommandRanks::Start start = ranks.start([&] {
      const std::optional<std::vector<int64_t>> prompt = prompts->next();
      return prompt ? pack_bytes({*prompt}) : std::string();
    });
    if (!start.bytes) return start.exit_code;
    if (start.bytes->empty()) break;

    const base::Stopwatch watch;
    std::optional<AnswerText> answer;
    if (ranks.is_master()) answer.emplace(job.reader->tokenizer(), job.generation.stop_ids);
    generator.generate(unpack_sequences(*start.bytes), sample, [&](int64_t token) {
      answer->add(token);
      ++totals.tokens;
    });
    if (answer) answer->finish();
    totals.seconds += watch.seconds();
  }
  if (ranks.is_master()) print_totals("generate", sample, totals);
  return 0;
}

}  // namespace orrery::cli
