// `orrery score`: log-probabilities of given tokens, or the values of a model with a value head.
#include "score.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cstring>
#include <iostream>
#include <numeric>

#include "commands.h"
#include "model_shard.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/model/packed_tokens.h"
#include "packed_sequences.h"
#include "text_file.h"

namespace orrery::cli {

namespace {

constexpr const char* kHelp =
    R"(orrery score: the log-probability that a model gives to each token of given sequences

  orrery score --model DIR --tokens F.json --out F.json [--layout L] [--logits]
  mpirun -n N+1 orrery score ...      a master and N workers

in:   {"sequences": [[ids...], ...]}
out:  {"logprobs": [[...], ...]}   one list for each sequence, in the order of the input; entry t is
      log p(token t+1 | tokens up to t), natural logarithm: a sequence of n tokens has n - 1
      with --logits also "logits": for each sequence n lists of one number for each token id
      of a model with a value head (reward models, critics) instead
      {"values": [[...], ...], "rewards": [...]}   one number a token; a reward is the last of them

)";

/// Numbers that a piece with logits has at most: 256 MiB of them.
constexpr int64_t kMaxLogits = int64_t{1} << 25;
constexpr int64_t kPieces = 16;

/// What came of all sequences.
struct Scores {
  std::vector<std::vector<double>> per_token;
  std::vector<std::vector<double>> logits;  // [n * vocabulary]; empty without --logits
};

enum class Head { kLanguage, kValue };

void append_doubles(std::string& bytes, const at::Tensor& values) {
  const at::Tensor doubles = values.detach().to(at::kCPU, at::kDouble).contiguous();
  bytes.append(static_cast<const char*>(doubles.const_data_ptr()),
               static_cast<size_t>(doubles.numel()) * sizeof(double));
}

/// The next n numbers of a result.
class DoubleReader {
 public:
  explicit DoubleReader(const std::string& bytes) : bytes_(bytes) {}

  std::vector<double> take(int64_t n) {
    std::vector<double> values(static_cast<size_t>(n));
    const size_t size = values.size() * sizeof(double);
    ORRERY_ASSERT(at_ + size <= bytes_.size(), "a result has as many numbers as its sequences");
    std::memcpy(values.data(), bytes_.data() + at_, size);
    at_ += size;
    return values;
  }

 private:
  const std::string& bytes_;
  size_t at_ = 0;
};

std::string compute(model::Decoder& decoder, const TokenSequences& sequences,
                    const ScorePiece& piece, bool with_logits) {
  const at::NoGradGuard no_grad;
  const model::PackedTokens batch = pack_sequences(std::span(sequences).subspan(
      static_cast<size_t>(piece.begin), static_cast<size_t>(piece.end - piece.begin)));
  std::string bytes;
  if (decoder.architecture().value_head) {
    append_doubles(bytes, decoder.values(batch));
    return bytes;
  }
  append_doubles(bytes, decoder.log_probs(batch));
  if (with_logits) append_doubles(bytes, decoder.logits(batch));
  return bytes;
}

std::string text_of(const Scores& scores, Head head, int64_t vocab_size) {
  JsonLists out;
  out.begin(head == Head::kValue ? "values" : "logprobs");
  for (const std::vector<double>& values : scores.per_token) out.numbers(values);
  if (head == Head::kValue) {
    out.begin("rewards");
    for (const std::vector<double>& values : scores.per_token) out.number(values.back());
  }
  if (!scores.logits.empty()) {
    out.begin("logits");
    for (const std::vector<double>& logits : scores.logits) out.rows(logits, vocab_size);
  }
  if (out.n_not_finite() > 0) {
    base::log_warning(base::concat(out.n_not_finite(),
                                   " results are not finite and stand as null in the output; "
                                   "--check looks for such weights"));
  }
  return out.take();
}

int score(const CommandRanks& ranks, std::span<const std::string> arguments) {
  ModelSource source;
  const CommandRanks::Start start = ranks.start([&] {
    const config::ScoreOptions options = config::parse_score_options(arguments);
    const config::ModelRunOptions& run = options.run;
    check_output(run.out);
    source = open_model(run.model, run.role, SourceCheck::kHashes);
    if (options.logits && source.architecture.value_head) {
      throw ConfigError("orrery score: --logits",
                        {.expected = "a language model",
                         .got = "a model with a value head, which has no logits",
                         .advice = "leave --logits out: its values are written"});
    }
    layout_for(run.layout, ranks.n_workers(), source.architecture);
    return pack_bytes(read_token_file(run.tokens, {.vocab_size = source.architecture.vocab_size,
                                                   .max_length = source.architecture.max_positions,
                                                   .length_reason = "the context of the model"}));
  });
  if (!start.bytes) return start.exit_code;

  const config::ScoreOptions options = config::parse_score_options(arguments);
  const TokenSequences sequences = unpack_sequences(*start.bytes);
  if (!ranks.is_master())
    source = open_model(options.run.model, options.run.role, SourceCheck::kStructure);
  const graph::Layout layout =
      layout_for(options.run.layout, ranks.n_workers(), source.architecture);
  const ModelShard::Loaded loaded = ModelShard::load(ranks, source, layout, options.run);
  if (loaded.exit_code != 0) return loaded.exit_code;

  const int64_t vocab_size = source.architecture.vocab_size;
  const Head head = source.architecture.value_head ? Head::kValue : Head::kLanguage;
  const int64_t max_tokens =
      options.logits ? std::clamp<int64_t>(kMaxLogits / vocab_size, 1, options.batch_tokens)
                     : options.batch_tokens;
  std::vector<int64_t> lengths;
  for (const std::vector<int64_t>& ids : sequences) lengths.push_back(std::ssize(ids));
  const std::vector<ScorePiece> pieces = plan_score_pieces(lengths, max_tokens);
  Scores scores;
  scores.per_token.resize(sequences.size());
  if (options.logits) scores.logits.resize(sequences.size());

  PieceWork work;
  for (const ScorePiece& piece : pieces) work.costs.push_back(piece.tokens);
  work.compute = [&](int piece) {
    return compute(loaded.shard->decoder(), sequences, pieces[base::index(piece)], options.logits);
  };
  work.take = [&](int number, const std::string& bytes) {
    const ScorePiece& piece = pieces[base::index(number)];
    DoubleReader reader(bytes);
    for (auto i = static_cast<size_t>(piece.begin); i < static_cast<size_t>(piece.end); ++i) {
      scores.per_token[i] = reader.take(head == Head::kValue ? lengths[i] : lengths[i] - 1);
    }
    for (auto i = static_cast<size_t>(piece.begin);
         options.logits && i < static_cast<size_t>(piece.end); ++i) {
      scores.logits[i] = reader.take(lengths[i] * vocab_size);
    }
    return piece.tokens;
  };
  const PieceTotals totals =
      run_pieces(ranks, *loaded.shard, layout, work,
                 std::chrono::duration<double>(options.run.deadline_seconds));
  if (!ranks.is_master()) return 0;
  write_output(options.run.out, text_of(scores, head, vocab_size));
  print_totals("score", sequences.size(), totals);
  return 0;
}

}  // namespace

std::vector<ScorePiece> plan_score_pieces(std::span<const int64_t> lengths, int64_t max_tokens) {
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const int64_t budget = std::clamp<int64_t>((total + kPieces - 1) / kPieces, 1, max_tokens);
  std::vector<ScorePiece> pieces;
  for (int i = 0; i < static_cast<int>(lengths.size()); ++i) {
    const int64_t length = lengths[base::index(i)];
    if (pieces.empty() || pieces.back().tokens + length > budget) {
      pieces.push_back({.begin = i, .end = i, .tokens = 0});
    }
    pieces.back().end = i + 1;
    pieces.back().tokens += length;
  }
  return pieces;
}

int run_score(std::span<const std::string> arguments) {
  if (asks_for_help(arguments)) {
    std::cout << kHelp << config::score_options_help();
    return 0;
  }
  return run_on_ranks([&](CommandRanks& ranks) { return score(ranks, arguments); });
}

}  // namespace orrery::cli
