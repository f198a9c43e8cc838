#include "orrery/algorithm/command_pool.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "orrery/base/error.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kLongestAnswer = size_t{1} << 20;
constexpr size_t kShownOfAnswer = 200;

std::string shown(const std::string& line) {
  if (line.size() <= kShownOfAnswer) return base::concat('\'', line, '\'');
  return base::concat('\'', line.substr(0, kShownOfAnswer), "...' (", line.size(), " bytes)");
}

}  // namespace

/// One running command and its question.
class CommandPool::Process {
 public:
  Process(Spawner& spawner, const std::vector<std::string>& words)
      : spawner_(spawner), child_(spawner.spawn(words)) {}

  ~Process() {
    try {
      end();
    } catch (const std::exception& error) {
      base::log_warning(base::concat("ending a command: ", error.what()));
    }
  }

  /// Closes its pipes, ends it and says how it ended.
  std::string end() {
    if (child_.pid < 0) return "ended before";
    child_.input = base::FileDescriptor();
    child_.output = base::FileDescriptor();
    return spawner_.end(std::exchange(child_.pid, -1));
  }

  void ask(size_t question, const std::string& line, Clock::time_point deadline) {
    question_ = question;
    deadline_ = deadline;
    unsent_ = line + "\n";
    answer_.clear();
  }

  bool is_busy() const { return question_.has_value(); }
  size_t question() const { return *question_; }
  void release() { question_.reset(); }
  Clock::time_point deadline() const { return deadline_; }

  void add_to(std::vector<pollfd>& polled) const {
    polled.push_back({child_.output.get(), POLLIN, 0});
    polled.push_back({unsent_.empty() ? -1 : child_.input.get(), POLLOUT, 0});
  }

  enum class Progress { kWaiting, kAnswered, kGone, kTooLong };

  /// Sends and reads what can be without waiting.
  Progress advance() {
    while (!unsent_.empty()) {
      const ssize_t sent = write(child_.input.get(), unsent_.data(), unsent_.size());
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && errno == EAGAIN) break;
      if (sent < 0) return Progress::kGone;  // it does not read any more
      unsent_.erase(0, static_cast<size_t>(sent));
    }
    while (true) {
      char bytes[4096];
      const ssize_t got = read(child_.output.get(), bytes, sizeof(bytes));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return Progress::kWaiting;
      if (got <= 0) return Progress::kGone;
      answer_.append(bytes, static_cast<size_t>(got));
      if (answer_.find('\n') != std::string::npos) return Progress::kAnswered;
      if (answer_.size() > kLongestAnswer) return Progress::kTooLong;
    }
  }

  /// What came so far; of an answer, its first line and anything that should not be there.
  const std::string& answer() const { return answer_; }

 private:
  Spawner& spawner_;
  Child child_;
  std::optional<size_t> question_;
  Clock::time_point deadline_;
  std::string unsent_;
  std::string answer_;
};

struct CommandPool::Round {
  const std::vector<std::string>& questions;
  const Check& check;
  std::deque<size_t> waiting = {};
  std::vector<std::string> answers = {};
  size_t n_answered = 0;
  int64_t restarts = 0;
};

CommandPool::CommandPool(Spawner& spawner, CommandPoolOptions options)
    : spawner_(spawner),
      options_(std::move(options)),
      words_(command_words(options_.command)),
      processes_(static_cast<size_t>(std::max<int64_t>(options_.concurrency, 1))) {}

CommandPool::~CommandPool() = default;

std::vector<std::string> CommandPool::ask(const std::vector<std::string>& questions,
                                          const Check& check) {
  Round round{.questions = questions, .check = check};
  round.answers.resize(questions.size());
  for (size_t i = 0; i < questions.size(); ++i) round.waiting.push_back(i);
  try {
    while (round.n_answered < questions.size()) {
      assign(round);
      wait(round);
    }
  } catch (...) {
    for (auto& process : processes_) process.reset();  // their answers would come too late
    throw;
  }
  return std::move(round.answers);
}

void CommandPool::assign(Round& round) {
  for (auto& process : processes_) {
    if (round.waiting.empty()) return;
    if (process != nullptr && process->is_busy()) continue;
    if (process == nullptr) process = std::make_unique<Process>(spawner_, words_);
    const size_t question = round.waiting.front();
    round.waiting.pop_front();
    process->ask(question, round.questions[question],
                 Clock::now() + std::chrono::duration_cast<Clock::duration>(options_.timeout));
  }
}

void CommandPool::wait(Round& round) {
  std::vector<pollfd> polled;
  Clock::time_point first = Clock::time_point::max();
  for (const auto& process : processes_) {
    if (process == nullptr || !process->is_busy()) continue;
    process->add_to(polled);
    first = std::min(first, process->deadline());
  }
  const auto left = std::chrono::duration<double, std::milli>(first - Clock::now()).count();
  const int milliseconds = static_cast<int>(std::clamp(std::ceil(left), 0.0, 1e6));
  if (poll(polled.data(), polled.size(), milliseconds) < 0 && errno != EINTR) {
    throw CallError(
        base::concat("waiting for command ", options_.command, ": ", std::strerror(errno)));
  }

  for (auto& process : processes_) {
    if (process == nullptr || !process->is_busy()) continue;
    const Process::Progress progress = process->advance();
    if (progress == Process::Progress::kAnswered) {
      const size_t end = process->answer().find('\n');
      std::string line = process->answer().substr(0, end);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      std::optional<std::string> wrong;
      if (end + 1 != process->answer().size()) {
        wrong = base::concat("more than one line for one question: ", shown(process->answer()));
      } else if (const auto text = round.check(process->question(), line)) {
        wrong = base::concat(*text, ": ", shown(line));
      }
      if (wrong) {
        fail(round, *process, *wrong);
        process.reset();
        continue;
      }
      round.answers[process->question()] = std::move(line);
      ++round.n_answered;
      process->release();
    } else if (progress != Process::Progress::kWaiting || Clock::now() >= process->deadline()) {
      std::string what = base::concat("no answer for ", options_.timeout.count(), " s");
      if (progress == Process::Progress::kGone) what = "it went without an answer";
      if (progress == Process::Progress::kTooLong) what = "a line without an end";
      if (!process->answer().empty()) {
        what = base::concat(what, ", after ", shown(process->answer()));
      }
      fail(round, *process, what);
      process.reset();
    }
  }
}

void CommandPool::fail(Round& round, Process& process, const std::string& what) {
  const size_t question = process.question();
  const std::string got = base::concat(what, "; the command was ended: ", process.end());
  if (round.restarts >= options_.restarts) {
    throw CallError(
        base::concat("command ", options_.command, ", started again ", round.restarts, " times"),
        {.expected = base::concat("an answer to ", shown(round.questions[question])),
         .got = got,
         .advice = "its own messages are in the output of the job"});
  }
  ++round.restarts;
  ++restarts_;
  base::log_warning(base::concat("command ", options_.command, ": ", got, "; starting it again"));
  round.waiting.push_front(question);
}

}  // namespace orrery::algorithm
