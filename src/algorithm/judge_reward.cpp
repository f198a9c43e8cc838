#include "orrery/algorithm/judge_reward.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "orrery/algorithm/generation.h"       // stop_ids
#include "orrery/algorithm/reward_outcomes.h"  // problem_of_scaling
#include "orrery/algorithm/rewards.h"
#include "orrery/base/hash.h"
#include "orrery/base/json.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/data/prompt_template.h"  // beginning_tokens

namespace orrery::algorithm {

namespace {

constexpr std::array kPlaces = {"{prompt}", "{response}", "{answer}"};
constexpr size_t kShown = 200;

bool has(const std::string& text, const char* place) { return text.find(place) != text.npos; }

/// The beginning of what a judge wrote, whatever bytes that are.
std::string shown(const std::string& text) {
  return base::json_line(nlohmann::json(text.substr(0, kShown)));
}

/// The number that a judge gave, if there is one and fp32 can hold it.
std::optional<float> number_of(const std::string& text) {
  double number = 0;
  if (config::read_value(std::string(base::trim(text)), number)) return std::nullopt;
  const auto narrow = static_cast<float>(number);
  return std::isfinite(narrow) ? std::optional(narrow) : std::nullopt;
}

}  // namespace

struct JudgeReward::Judged {
  bool is_too_long = false;
  std::string text = {};  // the judge's
  std::optional<float> number = {};
};

std::vector<OptionProblem> JudgeRewardOptions::problems(const config::CallConfig& call) const {
  std::vector<OptionProblem> found;
  if (!has(text_template, "{response}")) {
    found.push_back(
        {"template",
         "has no {response}: the judge would not see the answer; write where it stands"});
  }
  const bool reads_answers = config::find_binding(call.inputs, "answers") != nullptr;
  if (shows_answer() && !reads_answers) {
    found.push_back({"template",
                     "has {answer}, but answers is no input of the call: add it, or leave {answer} "
                     "out"});
  }
  if (auto problem = problem_of_scaling(output_scaling)) found.push_back(std::move(*problem));
  if (verdict.empty()) {
    found.push_back({"verdict", "is empty: write how the judge's number is found"});
  } else if (!text_pattern().problem(verdict) && TextPattern(verdict).n_groups() == 0) {
    found.push_back(
        {"verdict", base::concat("'", verdict, "' has no group: put the number into ( )")});
  }
  return found;
}

std::string judge_prompt(const std::string& text_template, const Response& response) {
  const std::array texts = {
      &(response.record_prompt.empty() ? response.prompt : response.record_prompt), &response.text,
      &response.answer};
  std::string prompt;
  for (size_t at = 0; at < text_template.size();) {
    size_t next = text_template.size(), which = kPlaces.size();
    for (size_t i = 0; i < kPlaces.size(); ++i) {
      if (const size_t found = text_template.find(kPlaces[i], at); found < next) {
        next = found;
        which = i;
      }
    }
    prompt.append(text_template, at, next - at);
    if (which == kPlaces.size()) break;
    prompt += *texts[which];
    at = next + std::string_view(kPlaces[which]).size();
  }
  return prompt;
}

JudgeReward::JudgeReward(JudgeRewardOptions options)
    : options_(std::move(options)),
      template_(config::unescaped(options_.text_template)),
      verdict_(options_.verdict) {}

data::SequenceBatch JudgeReward::inference(ModelContext& model, const data::SequenceBatch& input,
                                           const CallContext& call) {
  std::vector<Response> responses = responses_of(input, *model.data_tokenizer);
  const std::vector<Judged> judged = judge(model, responses, call);
  std::vector<float> rewards;
  for (size_t i = 0; i < judged.size(); ++i) {
    if (!judged[i].number) {
      responses[i].failure = judged[i].is_too_long ? "too_long" : "abstained";
      rewards.push_back(std::numeric_limits<float>::quiet_NaN());
      continue;
    }
    const double number = *judged[i].number;
    rewards.push_back(
        static_cast<float>((number - options_.output_bias) * options_.output_scaling));
  }
  statistics_.merge(reward_statistics(rewards));
  report(judged, responses, call, model);
  if (options_.dump_samples && !call.samples.empty() && model.is_dp_head) {
    dump_responses(call.samples, call.step, call.data_rank, responses, rewards);
  }
  check_share(judged, responses, call, model);
  return reward_batch(input, rewards);
}

std::vector<JudgeReward::Judged> JudgeReward::judge(ModelContext& model,
                                                    const std::vector<Response>& responses,
                                                    const CallContext& call) const {
  const data::Tokenizer& tokenizer = *model.tokenizer;
  const model::Architecture& architecture = model.decoder->architecture();
  const std::vector<int32_t> beginning = data::beginning_tokens(options_.add_bos, tokenizer);
  std::vector<Judged> judged(responses.size());
  std::vector<size_t> asked;
  std::vector<int64_t> tokens;
  std::vector<int32_t> lengths;
  std::vector<model::SamplingKey> keys;
  for (size_t i = 0; i < responses.size(); ++i) {
    std::vector<int32_t> prompt = tokenizer.encode(judge_prompt(template_, responses[i]));
    data::put_before(beginning, prompt);
    // One that has no room for an answer, or is nothing at all, cannot be gone on from.
    judged[i].is_too_long = std::ssize(prompt) >= architecture.max_positions;
    if (judged[i].is_too_long || prompt.empty()) continue;
    asked.push_back(i);
    tokens.insert(tokens.end(), prompt.begin(), prompt.end());
    lengths.push_back(static_cast<int32_t>(prompt.size()));
    // Not the noise that drew the answers.
    keys.push_back({.seed = call.seed ^ base::hash64(call.call),
                    .step = static_cast<uint64_t>(call.step),
                    .sample = responses[i].sample.value,
                    .first_member = static_cast<uint64_t>(responses[i].member)});
  }
  if (asked.empty()) return judged;
  const model::GenerationOptions options{
      .max_new_tokens = options_.max_new_tokens,
      .temperature = options_.temperature,
      .stop_ids = stop_ids(tokenizer),
      .never_ids = data::ids_without_token(tokenizer, architecture.vocab_size),
      .max_batch = options_.max_batch};
  const model::PackedTokens packed = model::pack_tokens(at::tensor(tokens, at::kLong), lengths);
  const model::GenerationResult result =
      model::Generator(*model.decoder).generate(packed, keys, options);
  for (size_t k = 0; k < asked.size(); ++k) {
    const model::GeneratedSequence& sequence = result.sequences[k];
    const std::vector<int32_t> ids(sequence.tokens.begin(), sequence.tokens.end());
    Judged& of = judged[asked[k]];
    of.text = tokenizer.decode(ids);
    if (const auto group = verdict_.last_group(of.text)) of.number = number_of(*group);
  }
  return judged;
}

void JudgeReward::report(const std::vector<Judged>& judged, const std::vector<Response>& responses,
                         const CallContext& call, const ModelContext& model) {
  const auto n = static_cast<double>(judged.size());
  const auto n_too_long =
      std::count_if(judged.begin(), judged.end(), [](const Judged& j) { return j.is_too_long; });
  const auto is_silent = [](const Judged& j) { return !j.number && !j.is_too_long; };
  const auto n_abstained = std::count_if(judged.begin(), judged.end(), is_silent);
  statistics_.mean("abstained_share", static_cast<double>(n_abstained + n_too_long), n);
  statistics_.sum("failed/abstained", static_cast<double>(n_abstained));
  statistics_.sum("failed/too_long", static_cast<double>(n_too_long));
  if (n_abstained + n_too_long == 0 || !model.is_dp_head) return;
  std::string example;
  if (const auto first = std::find_if(judged.begin(), judged.end(), is_silent);
      first != judged.end()) {
    const Response& response = responses[static_cast<size_t>(first - judged.begin())];
    example = base::concat("; to ", response.sample.value, "/", response.member, " it said ",
                           shown(first->text));
  }
  base::log_warning(base::concat("call ", call.call, ", step ", call.step,
                                 ": the judge gave no number to ", n_abstained, " of ",
                                 judged.size(), " answers, and ", n_too_long,
                                 " were too long for it; they are left out", example));
}

void JudgeReward::check_share(const std::vector<Judged>& judged,
                              const std::vector<Response>& responses, const CallContext& call,
                              const ModelContext& model) {
  std::vector<FailedAnswer> failed;
  for (size_t i = 0; i < judged.size(); ++i) {
    if (judged[i].number) continue;
    FailedAnswer answer{.sample = responses[i].sample.value, .member = responses[i].member};
    answer.reason = judged[i].is_too_long ? FailureReason::kTooLong : FailureReason::kAbstained;
    if (!judged[i].is_too_long) answer.what = shown(judged[i].text);
    failed.push_back(std::move(answer));
  }
  at::Tensor n_answers = at::tensor({std::ssize(judged)}, at::kLong);
  model.data_group->all_reduce(n_answers, comm::ReduceOp::kSum);
  const auto n_all = n_answers.item<int64_t>();
  share_.add(call.step, n_all, n_all * call.calls_per_step,
             gather_failed(failed, *model.data_group));
  const auto excess = share_.excess(
      {.of_step = options_.max_failed_share, .of_20_steps = options_.max_failed_share_20_steps});
  // All shards know the same; one of them says it.
  if (!excess || call.data_rank > 0 || !model.is_dp_head) return;
  throw excess->error(failed.empty() ? share_.failed_in_step() : failed, call.call,
                      base::concat("look at what the judge writes, and at verdict, template and "
                                   "max_new_tokens of call.",
                                   call.call));
}

}  // namespace orrery::algorithm
