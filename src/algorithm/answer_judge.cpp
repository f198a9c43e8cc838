#include "orrery/algorithm/answer_judge.h"

#include <algorithm>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "reward_lines.h"

namespace orrery::algorithm {

namespace {

FailureReason reason_of(CommandAnswer::End end) {
  if (end == CommandAnswer::End::kTimeout) return FailureReason::kTimeout;
  return end == CommandAnswer::End::kDied ? FailureReason::kDied : FailureReason::kMalformed;
}

Verdict failed(CommandAnswer answer) {
  return {.failure = reason_of(answer.end),
          .what = std::move(answer.text),
          .restarts = answer.restarts};
}

bool is_answered(const CommandAnswer& answer) {
  return answer.end == CommandAnswer::End::kAnswered;
}

}  // namespace

struct AnswerJudge::Asking {
  const std::vector<const Response*>& responses;
  const std::vector<std::string>& questions;
  const Decided& decided;
};

AnswerJudge::AnswerJudge(Spawner& spawner, CommandPoolOptions pool)
    : pool_(spawner, pool), name_(base::concat("command ", pool.command)) {}

AnswerJudge::AnswerJudge(Spawner& spawner, CommandPoolOptions pool, PythonFunction function)
    : pool_(spawner, pool),
      function_(std::move(function)),
      name_(base::concat("function ", function_->where)),
      concurrency_(std::max<int64_t>(pool.concurrency, 1)) {}

AnswerJudge::~AnswerJudge() = default;

std::string AnswerJudge::question(const Response& response) const {
  return function_ ? function_record(response) : command_question(response);
}

void AnswerJudge::ask(const std::vector<const Response*>& responses,
                      const std::vector<std::string>& questions, const Decided& decided) {
  if (function_) {
    ask_function(responses, questions, decided);
  } else {
    ask_command(responses, questions, decided);
  }
}

void AnswerJudge::ask_command(const std::vector<const Response*>& responses,
                              const std::vector<std::string>& questions, const Decided& decided) {
  pool_.ask(
      questions,
      [&](size_t i, const std::string& line) {
        return read_reward_line(line, id_of(*responses[i])).check;
      },
      [&](size_t i, CommandAnswer answer) {
        if (!is_answered(answer)) return decided(i, failed(std::move(answer)));
        Verdict verdict = read_reward_line(answer.text, id_of(*responses[i])).verdict;
        verdict.restarts = answer.restarts;
        decided(i, std::move(verdict));
      });
}

void AnswerJudge::meet_function() {
  if (has_met_) return;
  const std::string id = "import";
  std::string problem;
  pool_.ask(
      {base::concat("{\"id\":\"", id, "\"}")},
      [&](size_t, const std::string& line) { return read_function_line(line, id).check; },
      [&](size_t, const CommandAnswer& answer) {
        if (!is_answered(answer)) {
          problem = answer.text;
          return;
        }
        const FunctionLine line = read_function_line(answer.text, id);
        problem = line.problem;
        wants_tokens_ = line.wants_tokens;
      });
  if (!problem.empty()) {
    throw CallError(base::concat("the ", name_, " cannot be used on this node"),
                    {.expected = "what could be imported before the run began",
                     .got = problem,
                     .advice = base::concat("try it by hand: echo '{\"id\": \"a\"}' | ",
                                            runner_command(*function_))});
  }
  has_met_ = true;
}

void AnswerJudge::ask_function(const std::vector<const Response*>& responses,
                               const std::vector<std::string>& questions, const Decided& decided) {
  if (responses.empty()) return;
  meet_function();
  const Asking asking{.responses = responses, .questions = questions, .decided = decided};
  std::vector<size_t> all(responses.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = i;
  const int64_t share = (std::ssize(all) + concurrency_ - 1) / concurrency_;  // of a process
  const std::vector<size_t> left = ask_in_batches(
      asking, all, static_cast<size_t>(std::clamp<int64_t>(function_->batch_size, 1, share)));
  if (left.empty()) return;
  base::log_warning(
      base::concat("the ", name_, " is given ", left.size(),
                   " answers one by one, since it gave no rewards for them together"));
  ask_in_batches(asking, left, 1);
}

std::vector<size_t> AnswerJudge::ask_in_batches(const Asking& asking,
                                                const std::vector<size_t>& answers, size_t most) {
  std::vector<std::span<const size_t>> batches;
  std::vector<std::string> ids, lines;
  for (size_t begin = 0; begin < answers.size(); begin += most) {
    batches.push_back(std::span(answers).subspan(begin, std::min(most, answers.size() - begin)));
    std::vector<std::string> records;
    for (const size_t i : batches.back()) {
      records.push_back(wants_tokens_
                            ? with_tokens(asking.questions[i], asking.responses[i]->tokens)
                            : asking.questions[i]);
    }
    ids.push_back(base::concat("batch ", ++n_batches_));
    lines.push_back(batch_question(ids.back(), records));
  }
  std::vector<size_t> left;
  pool_.ask(
      lines,
      [&](size_t batch, const std::string& line) {
        return read_batch_line(line, ids[batch], batches[batch].size()).check;
      },
      [&](size_t batch, const CommandAnswer& answer) {
        const std::span<const size_t> members = batches[batch];
        if (!is_answered(answer) && members.size() > 1) {
          left.insert(left.end(), members.begin(), members.end());
          return;
        }
        if (!is_answered(answer)) return asking.decided(members.front(), failed(answer));
        BatchLine line = read_batch_line(answer.text, ids[batch], members.size());
        if (!line.problem.empty()) {
          throw CallError(
              base::concat("the ", name_, " could not be imported again: ", line.problem));
        }
        for (size_t k = 0; k < members.size(); ++k) {
          Verdict& verdict = line.verdicts[k];
          if (members.size() == 1) verdict.restarts = answer.restarts;
          if (verdict.failure && verdict.failure != FailureReason::kAbstained) {
            verdict.what =
                base::concat("record ", asking.responses[members[k]]->record, ": ", verdict.what);
          }
          asking.decided(members[k], std::move(verdict));
        }
      });
  std::sort(left.begin(), left.end());
  return left;
}

}  // namespace orrery::algorithm
