#include "orrery/algorithm/command_pool.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "command_process.h"
#include "orrery/base/error.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

using Clock = CommandProcess::Clock;
using Progress = CommandProcess::Progress;

constexpr size_t kShownOfAnswer = 200;
constexpr int64_t kMaxUnread = 3;
constexpr int kQuietMilliseconds = 5;  // after the last answers of a call
constexpr int64_t kMaxWarnings = 5;    // of one ask()
constexpr std::chrono::milliseconds kLookAtStarting{100};

Clock::time_point after(std::chrono::duration<double> time) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(time);
}

std::string shown(const std::string& line) {
  if (line.size() <= kShownOfAnswer) return base::concat('\'', line, '\'');
  return base::concat('\'', line.substr(0, kShownOfAnswer), "...' (", line.size(), " bytes)");
}

/// A process that did not get to the end of an answer, by what it did instead.
std::string without_end(const CommandProcess& process, const std::string& what) {
  return process.answer().empty() ? what : base::concat(what, ", after ", shown(process.answer()));
}

}  // namespace

struct CommandPool::Round {
  const std::vector<std::string>& questions;
  const Check& check;
  const Decided& decided;
  std::deque<size_t> waiting = {};
  std::vector<int64_t> restarts = {};  // by question
  size_t n_open = 0;                   // neither decided nor with an answer that is held
  int64_t n_warnings = 0;
};

CommandPool::CommandPool(Spawner& spawner, CommandPoolOptions options)
    : spawner_(spawner),
      options_(std::move(options)),
      words_(command_words(options_.command)),
      processes_(static_cast<size_t>(std::max<int64_t>(options_.concurrency, 1))) {}

CommandPool::~CommandPool() = default;

void CommandPool::ask(const std::vector<std::string>& questions, const Check& check,
                      const Decided& decided) {
  Round round{.questions = questions, .check = check, .decided = decided};
  round.restarts.resize(questions.size());
  round.n_open = questions.size();
  for (size_t i = 0; i < questions.size(); ++i) round.waiting.push_back(i);
  try {
    do {
      while (round.n_open > 0) {
        assign(round);
        wait(round, Patience::kUntilSomethingHappens);
      }
      settle(round);  // may open one again
    } while (round.n_open > 0);
  } catch (...) {
    abandon();
    throw;
  }
  if (round.n_warnings > kMaxWarnings) {
    base::log_warning(base::concat("command ", options_.command, ": ended and started again ",
                                   round.n_warnings, " times in this call"));
  }
}

void CommandPool::abandon() {
  for (Slot& slot : processes_) slot.reset();
}

CommandPool::Asking::Asking(CommandPool& pool, Check check, Decided decided)
    : pool_(pool),
      check_(std::move(check)),
      decided_(std::move(decided)),
      round_(std::make_unique<Round>(
          Round{.questions = questions_, .check = check_, .decided = decided_})) {}

CommandPool::Asking::~Asking() {
  if (round_ != nullptr) pool_.abandon();
}

void CommandPool::Asking::add(std::string question) {
  round_->waiting.push_back(questions_.size());
  questions_.push_back(std::move(question));
  round_->restarts.push_back(0);
  ++round_->n_open;
}

size_t CommandPool::Asking::n_free() const {
  const auto n_idle =
      std::count_if(pool_.processes_.begin(), pool_.processes_.end(),
                    [](const Slot& slot) { return slot == nullptr || !slot->is_busy(); });
  const auto idle = static_cast<size_t>(n_idle);
  return idle > round_->waiting.size() ? idle - round_->waiting.size() : 0;
}

void CommandPool::Asking::advance() {
  pool_.assign(*round_);
  pool_.wait(*round_, Patience::kNone);
}

void CommandPool::Asking::finish() {
  const auto is_busy = [](const Slot& slot) { return slot != nullptr && slot->is_busy(); };
  while (std::any_of(pool_.processes_.begin(), pool_.processes_.end(), is_busy)) {
    pool_.wait(*round_, Patience::kUntilSomethingHappens);
  }
  pool_.settle(*round_);
  round_.reset();
}

std::chrono::duration<double> CommandPool::time_to_read(const CommandProcess& process) const {
  if (!process.is_starting()) return options_.timeout;
  return std::max(options_.timeout + options_.start, options_.first_read);
}

void CommandPool::assign(Round& round) {
  if (round.waiting.empty()) return;
  look_for_strays(round);
  for (Slot& slot : processes_) {
    if (round.waiting.empty()) return;
    if (slot != nullptr && slot->is_busy()) continue;
    if (slot == nullptr) slot = std::make_unique<CommandProcess>(spawner_, words_);
    const size_t question = round.waiting.front();
    round.waiting.pop_front();
    slot->ask(question, round.questions[question], after(time_to_read(*slot)));
  }
}

/// A line that nobody asked for is a second answer to the last question, or worse: from now on this
/// process's lines belong to other questions.
void CommandPool::look_for_strays(Round& round) {
  for (Slot& slot : processes_) {
    if (slot == nullptr || slot->is_busy()) continue;
    const CommandProcess::Idle idle = slot->look();
    if (idle == CommandProcess::Idle::kQuiet) continue;
    if (idle == CommandProcess::Idle::kGone) {
      replace(round, slot, "it ended between two questions");
    } else {
      revoke(round, slot, base::concat("a line that was not asked for: ", shown(slot->answer())));
    }
  }
}

void CommandPool::settle(Round& round) {
  std::vector<pollfd> polled;
  for (const Slot& slot : processes_) {
    if (slot != nullptr && slot->held()) slot->add_to(polled);
  }
  if (polled.empty()) return;
  poll(polled.data(), polled.size(), kQuietMilliseconds);
  look_for_strays(round);
  for (Slot& slot : processes_) {
    if (slot != nullptr) confirm(round, slot);
  }
}

void CommandPool::confirm(Round& round, Slot& slot) {
  const std::optional<CommandProcess::Held> held = slot->take_held();
  if (!held) return;
  decide(round, held->question,
         {.end = CommandAnswer::End::kAnswered, .text = held->line, .restarts = {}});
}

void CommandPool::revoke(Round& round, Slot& slot, const std::string& what) {
  if (!slot->names_questions()) {
    give_up(
        "writes more lines than it is asked questions, and they do not say to which they belong",
        "", base::concat(what, "; ", slot->end()),
        "write one line for each question, with its id: {\"id\": ..., \"reward\": ...}, and "
        "anything else to stderr");
  }
  const std::optional<CommandProcess::Held> held = slot->take_held();
  const std::string text = replace(round, slot, what);
  if (!held) return;  // of the call before: it is too late
  ++round.n_open;
  ask_again_or_decide(round, held->question, CommandAnswer::End::kMalformed, text);
}

void CommandPool::wait(Round& round, Patience patience) {
  std::vector<pollfd> polled;
  Clock::time_point first = Clock::now() + std::chrono::seconds(1);  // on_wait
  for (const Slot& slot : processes_) {
    if (slot == nullptr || !slot->is_busy()) continue;
    slot->add_to(polled);
    first = std::min(first, slot->deadline());
    if (slot->is_starting()) first = std::min(first, after(kLookAtStarting));
  }
  const auto left = std::chrono::duration<double, std::milli>(first - Clock::now()).count();
  const int milliseconds =
      patience == Patience::kNone ? 0 : static_cast<int>(std::max(std::ceil(left), 0.0));
  if (poll(polled.data(), polled.size(), milliseconds) < 0 && errno != EINTR) {
    throw CallError(
        base::concat("waiting for command ", options_.command, ": ", std::strerror(errno)));
  }
  if (options_.on_wait) options_.on_wait();

  for (Slot& slot : processes_) {
    if (slot == nullptr || !slot->is_busy()) continue;
    const Progress progress = slot->advance();
    if (slot->is_starting() && slot->has_read()) {
      slot->has_started(after(options_.timeout + options_.start));
    }
    const bool is_late = Clock::now() >= slot->deadline();
    if (progress == Progress::kAnswered) {
      take_line(round, slot);
    } else if (progress == Progress::kTooLong) {
      fail(round, slot, CommandAnswer::End::kMalformed,
           without_end(*slot, "a line without an end"));
    } else if (progress == Progress::kGone && slot->has_read()) {
      fail(round, slot, CommandAnswer::End::kDied, without_end(*slot, "it went without an answer"));
    } else if (progress == Progress::kGone) {
      ask_again_unread(round, slot, "it went before it had read a question");
    } else if (is_late && slot->has_read()) {
      const size_t question = slot->question();
      ++round.restarts[question];
      const std::string what = base::concat("no answer for ", options_.timeout.count(), " s");
      const std::string text = replace(round, slot, without_end(*slot, what));
      --round.n_open;
      decide(round, question, {.end = CommandAnswer::End::kTimeout, .text = text, .restarts = {}});
    } else if (is_late) {
      ask_again_unread(
          round, slot,
          base::concat("it has read no question for ", time_to_read(*slot).count(), " s"));
    }
  }
}

void CommandPool::take_line(Round& round, Slot& slot) {
  const size_t end = slot->answer().find('\n');
  std::string line = slot->answer().substr(0, end);
  if (!line.empty() && line.back() == '\r') line.pop_back();
  const size_t question = slot->question();
  const auto& held = slot->held();
  if (held && (!slot->has_read() || round.check(held->question, line).is_named_answer())) {
    round.waiting.push_front(question);  // it is not to blame
    return revoke(round, slot, base::concat("a second line for one question: ", shown(line)));
  }
  LineCheck check;
  if (!slot->has_read()) {
    check.problem = base::concat("a line before it had read the question: ", shown(line));
  } else if (end + 1 != slot->answer().size()) {
    check.problem = base::concat("more than one line for one question: ", shown(slot->answer()));
  } else {
    check = round.check(question, line);
    if (check.problem) check.problem = base::concat(*check.problem, ": ", shown(line));
  }
  if (check.problem) return fail(round, slot, CommandAnswer::End::kMalformed, *check.problem);
  if (!check.names_question && !std::exchange(has_told_of_names_, true)) {
    base::log_warning(base::concat(
        "command ", options_.command,
        ": its answers do not carry the id of their question, so a line too many could give an "
        "answer the reward of another; write {\"id\": the question's id, \"reward\": ...}"));
  }
  confirm(round, slot);
  slot->hold(std::move(line),
             check.names_question ? CommandProcess::Named::kYes : CommandProcess::Named::kNo);
  --round.n_open;
  ++n_answered_;
  n_unread_ = 0;
}

std::string CommandPool::replace(Round& round, Slot& slot, const std::string& what) {
  confirm(round, slot);
  const std::string text = base::concat(what, "; the command was ended: ", slot->end());
  slot.reset();
  ++restarts_;
  if (++round.n_warnings <= kMaxWarnings) {
    base::log_warning(base::concat("command ", options_.command, ": ", text));
  }
  return text;
}

void CommandPool::fail(Round& round, Slot& slot, CommandAnswer::End end, const std::string& what) {
  const size_t question = slot->question();
  ask_again_or_decide(round, question, end, replace(round, slot, what));
}

void CommandPool::ask_again_or_decide(Round& round, size_t question, CommandAnswer::End end,
                                      const std::string& text) {
  if (++round.restarts[question] <= options_.restarts) {
    round.waiting.push_front(question);
    return;
  }
  --round.n_open;
  decide(round, question, {.end = end, .text = text, .restarts = {}});
}

void CommandPool::ask_again_unread(Round& round, Slot& slot, const std::string& what) {
  const size_t question = slot->question();
  const std::string text = replace(round, slot, what);
  if (++n_unread_ >= kMaxUnread) {
    give_up(base::concat("ended or hung ", n_unread_, " times in a row without reading a question"),
            round.questions[question], text,
            "try it by hand: it reads questions from its stdin, a line each; if it needs long to "
            "start, raise timeout_seconds");
  }
  round.waiting.push_front(question);
}

void CommandPool::decide(Round& round, size_t question, CommandAnswer answer) {
  answer.restarts = round.restarts[question];
  if (n_answered_ == 0 && ++n_failed_first_ == options_.max_first_failures) {
    give_up(base::concat("gave no answer to any of the first ", n_failed_first_, " questions"),
            round.questions[question], answer.text,
            "try it by hand; it must write its answer at once (flush) and within timeout_seconds");
  }
  round.decided(question, std::move(answer));
}

void CommandPool::give_up(const std::string& what, const std::string& question,
                          const std::string& got, const std::string& advice) const {
  throw CallError(base::concat("command ", options_.command, " ", what),
                  {.expected = question.empty() ? "one line for each question"
                                                : base::concat("an answer to ", shown(question)),
                   .got = got,
                   .advice = advice});
}

}  // namespace orrery::algorithm
