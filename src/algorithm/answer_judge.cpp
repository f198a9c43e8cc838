#include "orrery/algorithm/answer_judge.h"

#include <algorithm>
#include <deque>
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

  LineCheck check(size_t i, const std::string& line) const {
    return read_reward_line(line, id_of(*responses[i])).check;
  }
  void decide(size_t i, CommandAnswer answer) const {
    if (!is_answered(answer)) return decided(i, failed(std::move(answer)));
    Verdict verdict = read_reward_line(answer.text, id_of(*responses[i])).verdict;
    verdict.restarts = answer.restarts;
    decided(i, std::move(verdict));
  }
};

struct AnswerJudge::Batch {
  std::string id;
  std::vector<size_t> answers;

  LineCheck check(const std::string& line) const {
    return read_batch_line(line, id, answers.size()).check;
  }
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
                      const std::vector<std::string>& questions, const Decided& decided,
                      size_t n_together) {
  if (function_) {
    ask_function(responses, questions, decided, n_together);
  } else {
    ask_command(responses, questions, decided);
  }
}

void AnswerJudge::ask_command(const std::vector<const Response*>& responses,
                              const std::vector<std::string>& questions, const Decided& decided) {
  const Asking asking{.responses = responses, .questions = questions, .decided = decided};
  pool_.ask(
      questions, [&](size_t i, const std::string& line) { return asking.check(i, line); },
      [&](size_t i, CommandAnswer answer) { asking.decide(i, std::move(answer)); });
}

void AnswerJudge::meet_function() {
  if (has_met_) return;
  const std::string id = "import";
  std::string problem;
  pool_.ask(
      {import_question(id)},
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
                               const std::vector<std::string>& questions, const Decided& decided,
                               size_t n_together) {
  if (responses.empty()) return;
  meet_function();
  const Asking asking{.responses = responses, .questions = questions, .decided = decided};
  std::vector<size_t> together(std::min(responses.size(), n_together));
  for (size_t i = 0; i < together.size(); ++i) together[i] = i;
  const int64_t share = (std::ssize(together) + concurrency_ - 1) / concurrency_;  // of a process
  const int64_t most = std::clamp<int64_t>(function_->batch_size, 1, std::max<int64_t>(share, 1));
  std::vector<size_t> left = ask_in_batches(asking, together, static_cast<size_t>(most));
  for (size_t i = together.size(); i < responses.size(); ++i) left.push_back(i);
  if (left.empty()) return;
  base::log_warning(
      base::concat("the ", name_, " is given ", left.size(),
                   " answers one by one, since it gave no rewards for them together"));
  ask_in_batches(asking, left, 1);
}

AnswerJudge::Batch AnswerJudge::batch_of(std::vector<size_t> answers) {
  return {.id = base::concat("batch ", ++n_batches_), .answers = std::move(answers)};
}

std::string AnswerJudge::line_of(const Asking& asking, const Batch& batch) const {
  std::vector<std::string> records;
  for (const size_t i : batch.answers) {
    records.push_back(wants_tokens_ ? with_tokens(asking.questions[i], asking.responses[i]->tokens)
                                    : asking.questions[i]);
  }
  return batch_question(batch.id, records);
}

void AnswerJudge::take(const Asking& asking, const Batch& batch, const CommandAnswer& answer,
                       std::vector<size_t>& left) const {
  const std::vector<size_t>& members = batch.answers;
  if (!is_answered(answer) && members.size() > 1) {
    left.insert(left.end(), members.begin(), members.end());
    return;
  }
  if (!is_answered(answer)) return asking.decided(members.front(), failed(answer));
  BatchLine line = read_batch_line(answer.text, batch.id, members.size());
  if (!line.problem.empty()) {
    throw CallError(base::concat("the ", name_, " could not be imported again: ", line.problem));
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
}

std::vector<size_t> AnswerJudge::ask_in_batches(const Asking& asking,
                                                const std::vector<size_t>& answers, size_t most) {
  std::vector<Batch> batches;
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < answers.size(); begin += most) {
    const std::span<const size_t> members =
        std::span(answers).subspan(begin, std::min(most, answers.size() - begin));
    batches.push_back(batch_of({members.begin(), members.end()}));
    lines.push_back(line_of(asking, batches.back()));
  }
  std::vector<size_t> left;
  pool_.ask(
      lines, [&](size_t batch, const std::string& line) { return batches[batch].check(line); },
      [&](size_t batch, const CommandAnswer& answer) {
        take(asking, batches[batch], answer, left);
      });
  std::sort(left.begin(), left.end());
  return left;
}

struct AnswerJudge::Stream::Growing {
  Growing(AnswerJudge& by, Decided what)
      : judge(by),
        decided(std::move(what)),
        asking(
            by.pool_,
            [this](size_t i, const std::string& line) {
              return judge.function_ ? batches[i].check(line) : answers.check(i, line);
            },
            [this](size_t i, CommandAnswer answer) {
              if (!judge.function_) return answers.decide(i, std::move(answer));
              judge.take(answers, batches[i], answer, left);
            }) {}

  AnswerJudge& judge;
  const Decided decided;
  std::deque<Response> responses = {};  // do not move when there are more
  std::vector<const Response*> places = {};
  std::vector<std::string> questions = {};
  const Asking answers{.responses = places, .questions = questions, .decided = decided};
  std::deque<Batch> batches = {};
  std::vector<size_t> left = {};
  size_t n_given = 0;  // to the pool
  CommandPool::Asking asking;
};

AnswerJudge::Stream::Stream(AnswerJudge& judge, Decided decided) {
  if (judge.function_) judge.meet_function();
  growing_ = std::make_unique<Growing>(judge, std::move(decided));
}

AnswerJudge::Stream::~Stream() = default;

void AnswerJudge::Stream::add(Response response, std::string question) {
  Growing& growing = *growing_;
  growing.responses.push_back(std::move(response));
  growing.places.push_back(&growing.responses.back());
  growing.questions.push_back(std::move(question));
}

void AnswerJudge::Stream::advance() {
  Growing& growing = *growing_;
  AnswerJudge& judge = growing.judge;
  for (size_t n_free = growing.asking.n_free(); n_free > 0; n_free = growing.asking.n_free()) {
    const size_t n_waiting = growing.questions.size() - growing.n_given;
    if (n_waiting == 0) break;
    if (!judge.function_) {
      growing.asking.add(growing.questions[growing.n_given++]);
      continue;
    }
    // As many for each process that is free, so that none has all the work.
    const auto most = static_cast<size_t>(std::max<int64_t>(judge.function_->batch_size, 1));
    std::vector<size_t> answers(std::min(most, (n_waiting + n_free - 1) / n_free));
    for (size_t& answer : answers) answer = growing.n_given++;
    growing.batches.push_back(judge.batch_of(std::move(answers)));
    growing.asking.add(judge.line_of(growing.answers, growing.batches.back()));
  }
  growing.asking.advance();
}

std::vector<size_t> AnswerJudge::Stream::finish() {
  growing_->asking.finish();
  std::sort(growing_->left.begin(), growing_->left.end());
  return std::move(growing_->left);
}

}  // namespace orrery::algorithm
