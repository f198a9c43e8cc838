#include "orrery/algorithm/command_reward.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "early_judge.h"
#include "orrery/algorithm/rewards.h"
#include "orrery/base/error.h"
#include "orrery/base/hash.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "reward_lines.h"  // id_of

namespace orrery::algorithm {

namespace {

std::optional<float> number_in(const std::string& on_failed_answer) {
  double number = 0;
  if (config::read_value(on_failed_answer, number)) return std::nullopt;
  return static_cast<float>(number);
}

constexpr std::chrono::seconds kCommandStart{5};
constexpr const char* kStop = "stop";
constexpr const char* kLeaveOut = "leave_out";

/// Tokens of the answers; 0 of one that failed: what stands for its reward is no judgement of it.
std::vector<int64_t> judged_lengths(const std::vector<Response>& responses) {
  auto lengths = answer_lengths(responses);
  for (size_t i = 0; i < responses.size(); ++i) {
    if (!responses[i].failure.empty()) lengths[i] = 0;
  }
  return lengths;
}

}  // namespace

config::Check failed_answer_choice() {
  return {.text = "stop, leave_out or a number",
          .problem = [](const std::string& value) -> std::optional<std::string> {
            if (value == kStop || value == kLeaveOut) return std::nullopt;
            const std::optional<float> number = number_in(value);
            if (number && std::isfinite(*number)) return std::nullopt;
            return base::concat("must be stop, leave_out or a number that is finite in fp32, got '",
                                value, "'");
          }};
}

struct CommandReward::Round {
  const CallContext& call;
  std::vector<Response> responses = {};
  std::vector<std::string> questions = {};
  std::vector<float> rewards = {};
  std::vector<FailedAnswer> failed = {};  // of this data rank
  std::vector<FailedAnswer> fresh = {};   // of these, those decided now
  EarlyVerdicts early = {};               // while answers were generated
  int64_t n_early = 0;                    // of these, those that were taken
  int64_t restarts = 0;                   // that went into decisions of before
  int64_t n_answers = 0;                  // of all data ranks
  int64_t n_expected = 0;                 // of all data ranks in the whole step
};

PythonFunction CommandRewardOptions::python_function() const {
  return {.where = function,
          .python = python,
          .batch_size = batch_size,
          .max_memory_gib = max_memory_gib};
}

std::vector<OptionProblem> CommandRewardOptions::problems(const config::CallConfig&) const {
  std::vector<OptionProblem> found = overlong_problems();
  if (auto problem = source_problem()) found.push_back(std::move(*problem));
  if (!function.empty()) return found;
  const PythonFunction defaults;
  for (const auto& [option, is_set] :
       {std::pair{"python", python != defaults.python},
        {"batch_size", batch_size != defaults.batch_size},
        {"max_memory_gib", max_memory_gib != defaults.max_memory_gib}}) {
    if (!is_set) continue;
    found.push_back({option, "has no effect on a command: it is of a function",
                     OptionProblem::Severity::kWarning});
  }
  return found;
}

std::optional<OptionProblem> CommandRewardOptions::source_problem() const {
  if (function.empty()) {
    if (const auto text = command_problem(command)) return OptionProblem{"command", *text};
    return std::nullopt;
  }
  if (!command.empty()) {
    return OptionProblem{"function", "there is a command already; write one of the two"};
  }
  try {
    if (const auto text = command_problem(runner_command(python_function()))) {
      return OptionProblem{"python", *text};
    }
    // Where nothing may be started (orrery plan), only the files are looked for.
    if (!Spawner::is_running()) return std::nullopt;
    if (const auto text = import_problem(Spawner::running(), python_function())) {
      return OptionProblem{"function", base::concat(function, ": ", *text)};
    }
  } catch (const Error& error) {
    return OptionProblem{"function", error.what()};
  }
  return std::nullopt;
}

CommandReward::CommandReward(CommandRewardOptions options)
    : options_(std::move(options)), reward_of_failed_(number_in(options_.on_failed_answer)) {}

void CommandReward::prepare(const ModelContext& model, const CallContext& call) {
  if (judge_ != nullptr) return;
  comm::Activity* const activity = model.data_group->options().activity;
  CommandPoolOptions pool{.command = options_.command,
                          .timeout = std::chrono::duration<double>(options_.timeout_seconds),
                          .first_read = kCommandStart,
                          .restarts = options_.restarts,
                          .concurrency = options_.concurrency,
                          .max_first_failures = options_.max_failed_share < 1 ? 8 : 0,
                          // Whoever waits for this worker must not take it for one that hangs.
                          .on_wait = [activity] {
                            if (activity != nullptr) activity->advance();
                          }};
  if (options_.function.empty()) {
    judge_ = std::make_unique<AnswerJudge>(Spawner::running(), std::move(pool));
  } else {
    pool.command = runner_command(options_.python_function());
    pool.start = kFunctionStart;
    judge_ = std::make_unique<AnswerJudge>(Spawner::running(), std::move(pool),
                                           options_.python_function());
  }
  if (!call.failed_answers.empty()) {
    record_.emplace(call.failed_answers, call.call, call.data_rank, call.step);
  }
}

data::SequenceBatch CommandReward::inference(ModelContext& model, const data::SequenceBatch& input,
                                             const CallContext& call) {
  Round round{.call = call, .responses = responses_of(input, *model.tokenizer)};
  round.rewards.resize(round.responses.size());
  if (!model.is_dp_head) return reward_batch(input, round.rewards);
  round.early = early_verdicts_of(input.meta, call.call);
  prepare(model, call);
  at::Tensor n_answers = at::tensor({std::ssize(round.responses)}, at::kLong);
  model.data_group->all_reduce(n_answers, comm::ReduceOp::kSum);
  round.n_answers = n_answers.item<int64_t>();
  round.n_expected = round.n_answers * call.calls_per_step;

  ask(round);
  const std::vector<FailedAnswer> all = gather_failed(round.failed, *model.data_group);
  share_.add(call.step, round.n_answers, round.n_expected, all);
  report(round);
  statistics_.merge(add_overlong_penalty(options_, judged_lengths(round.responses), round.rewards));
  if (options_.dump_samples && !call.samples.empty()) {
    dump_responses(call.samples, call.step, call.data_rank, round.responses, round.rewards);
  }
  const bool is_stopped = are_too_many(round);
  // What stops the job is asked for again when it goes on.
  if (record_ && !is_stopped) record_->add(call.step, round.fresh);
  data::SequenceBatch output = reward_batch(input, round.rewards);
  // They have served: samples need not carry them any further.
  if (input.meta.extra.contains(findings_for(call.call))) {
    output.meta.extra[findings_for(call.call)].resize(output.size());
  }
  return output;
}

std::unique_ptr<AnswerWatcher> CommandReward::watch(ModelContext& model,
                                                    const data::SequenceBatch& samples,
                                                    const CallContext& call) {
  if (!options_.while_generating) return nullptr;
  prepare(model, call);
  const auto is_decided = [this, step = call.step](const Response& response,
                                                   const std::string& question) {
    return record_ && record_->find(step, response.sample.value, response.member,
                                    base::hash64(question)) != nullptr;
  };
  return std::make_unique<EarlyJudge>(*judge_, ResponseReader(samples, *model.tokenizer),
                                      samples.size(), is_decided);
}

void CommandReward::ask(Round& round) {
  std::vector<size_t> asked, suspects;  // places of the responses
  size_t n_known = 0;
  for (size_t i = 0; i < round.responses.size(); ++i) {
    const Response& response = round.responses[i];
    round.questions.push_back(judge_->question(response));
    const FailedAnswer* const known =
        record_ ? record_->find(round.call.step, response.sample.value, response.member,
                                base::hash64(round.questions.back()))
                : nullptr;
    if (known == nullptr) {
      take_early(round, i, asked, suspects);
      continue;
    }
    ++n_known;
    round.restarts += known->restarts;
    decide(round, i, {.failure = known->reason, .what = known->what, .restarts = known->restarts});
  }
  if (n_known > 0) {
    base::log_info(base::concat("call ", round.call.call, ", step ", round.call.step, ": ", n_known,
                                " answers without a reward, as before the run was resumed"));
  }
  const size_t n_together = asked.size();
  asked.insert(asked.end(), suspects.begin(), suspects.end());
  std::vector<const Response*> responses;
  std::vector<std::string> questions;
  for (const size_t i : asked) {
    responses.push_back(&round.responses[i]);
    questions.push_back(round.questions[i]);
  }
  judge_->ask(
      responses, questions,
      [&](size_t question, Verdict verdict) {
        decide_now(round, asked[question], std::move(verdict));
      },
      n_together);
  // In an order that does not depend on time.
  for (std::vector<FailedAnswer>* const failed : {&round.failed, &round.fresh}) {
    std::sort(failed->begin(), failed->end(), [](const FailedAnswer& a, const FailedAnswer& b) {
      return std::pair(a.sample, a.member) < std::pair(b.sample, b.member);
    });
  }
}

void CommandReward::take_early(Round& round, size_t i, std::vector<size_t>& asked,
                               std::vector<size_t>& suspects) {
  const Response& response = round.responses[i];
  const auto early = round.early.find({response.sample.value, response.member});
  if (early == round.early.end() || early->second.question != base::hash64(round.questions[i])) {
    asked.push_back(i);
  } else if (early->second.is_suspect) {
    suspects.push_back(i);
  } else {
    ++round.n_early;
    decide_now(round, i, std::move(early->second.verdict));
  }
}

void CommandReward::decide_now(Round& round, size_t i, Verdict verdict) {
  const bool is_failed = verdict.failure.has_value();
  decide(round, i, std::move(verdict));
  if (is_failed) round.fresh.push_back(round.failed.back());
}

void CommandReward::decide(Round& round, size_t i, Verdict verdict) {
  if (!verdict.failure) {
    round.rewards[i] = static_cast<float>(verdict.reward);
    round.responses[i].parts = std::move(verdict.parts);
    return;
  }
  Response& response = round.responses[i];
  response.failure = name_of(*verdict.failure);
  const bool is_abstention = *verdict.failure == FailureReason::kAbstained;
  round.rewards[i] = is_abstention || !reward_of_failed_ ? std::numeric_limits<float>::quiet_NaN()
                                                         : *reward_of_failed_;
  round.failed.push_back({.sample = response.sample.value,
                          .member = response.member,
                          .reason = *verdict.failure,
                          .what = std::move(verdict.what),
                          .restarts = verdict.restarts,
                          .question = base::hash64(round.questions[i])});
  if (options_.on_failed_answer == kStop && !is_abstention) {
    throw CallError(base::concat("answer ", id_of(response), " has no reward"),
                    {.expected = "a reward for every answer: on_failed_answer is stop",
                     .got = text_of({round.failed.back()}),
                     .advice = base::concat("mend the ", judge_->name(), "; or set call.",
                                            round.call.call, ".on_failed_answer = leave_out")});
  }
  stop_early(round);
}

void CommandReward::stop_early(const Round& round) const {
  const FailedShare::Share share{.failed = std::ssize(round.failed), .answers = round.n_expected};
  if (!share.is_above(options_.max_failed_share)) return;
  throw too_many(round, {.share = share, .ceiling = options_.max_failed_share}, round.failed);
}

bool CommandReward::are_too_many(const Round& round) const {
  const auto excess = share_.excess(
      {.of_step = options_.max_failed_share, .of_20_steps = options_.max_failed_share_20_steps});
  if (!excess) return false;
  // All data ranks know the same; one of them says it.
  if (round.call.data_rank > 0) return true;
  throw too_many(round, *excess, round.failed.empty() ? share_.failed_in_step() : round.failed);
}

CallError CommandReward::too_many(const Round& round, const FailedShare::Excess& excess,
                                  const std::vector<FailedAnswer>& failed) const {
  return excess.error(
      failed, round.call.call,
      base::concat("mend the ", judge_->name(), "; if it only needs longer, raise call.",
                   round.call.call, ".timeout_seconds"));
}

void CommandReward::report(const Round& round) {
  statistics_.merge(reward_statistics(round.rewards));
  for (const Response& response : round.responses) {
    for (const auto& [name, part] : response.parts) {
      statistics_.mean(base::concat("reward/", name), part, 1);
    }
  }
  statistics_.sum("command_restarts",
                  static_cast<double>(judge_->take_restarts() + round.restarts));
  statistics_.mean("time/judged_early_share", static_cast<double>(round.n_early),
                   static_cast<double>(round.responses.size()));
  statistics_.mean("failed_share", static_cast<double>(round.failed.size()),
                   static_cast<double>(round.responses.size()));
  for (const FailureReason reason : kFailureReasons) {
    const auto n = std::count_if(round.failed.begin(), round.failed.end(),
                                 [&](const FailedAnswer& f) { return f.reason == reason; });
    statistics_.sum(base::concat("failed/", name_of(reason)), static_cast<double>(n));
  }
  statistics_.sum("failed", static_cast<double>(round.failed.size()));
  if (round.fresh.empty()) return;
  base::log_warning(base::concat(
      "call ", round.call.call, ", step ", round.call.step, ": ", round.fresh.size(), " of ",
      round.responses.size(), " answers have no reward (",
      reward_of_failed_
          ? base::concat("they get ", *reward_of_failed_, ", those with null are left out")
          : "they are left out",
      "): ", text_of(round.fresh)));
}

}  // namespace orrery::algorithm
