// One running command and the question that it has at hand. Nothing here waits; one thread.
#pragma once

#include <poll.h>

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "orrery/algorithm/spawner.h"

namespace orrery::algorithm {

class CommandProcess {
 public:
  using Clock = std::chrono::steady_clock;

  /// Starts it. `spawner` must outlive it.
  CommandProcess(Spawner& spawner, const std::vector<std::string>& words)
      : spawner_(spawner), child_(spawner.spawn(words)) {}
  ~CommandProcess();
  CommandProcess(const CommandProcess&) = delete;
  CommandProcess& operator=(const CommandProcess&) = delete;

  /// Closes its pipes, ends it and says how it ended, with the last of what it wrote to stderr.
  std::string end();

  void ask(size_t question, const std::string& line, Clock::time_point deadline);
  bool is_busy() const { return question_.has_value(); }
  size_t question() const { return *question_; }
  Clock::time_point deadline() const { return deadline_; }
  /// Whether it has read no question yet, as far as anybody has looked.
  bool is_starting() const { return is_starting_; }
  /// It has read its first question, whose answer is due then.
  void has_started(Clock::time_point due);
  /// An answer that stands once the next one shows, or some quiet, that it was the only one.
  struct Held {
    size_t question = 0;
    std::string line = {};
  };
  /// The question is answered by `line`, which is held. `Named`: it says to which question it
  /// belongs.
  enum class Named { kYes, kNo };
  void hold(std::string line, Named named);
  const std::optional<Held>& held() const { return held_; }
  std::optional<Held> take_held() { return std::exchange(held_, std::nullopt); }
  /// Whether all its answers said so: a line too many can have given no question another's answer.
  bool names_questions() const { return names_questions_; }

  /// Whether it has taken in anything of its question. One that ended or hangs without that did so
  /// for another reason than the question.
  bool has_read() const;

  void add_to(std::vector<pollfd>& polled) const;

  enum class Progress { kWaiting, kAnswered, kGone, kTooLong };
  /// Sends and reads what can be without waiting.
  Progress advance();

  enum class Idle { kQuiet, kTalks, kGone };
  /// Of one without a question: whether it has written something all the same, or ended.
  Idle look();

  /// What came so far; of an answer, its first line and anything that should not be there.
  const std::string& answer() const { return answer_; }

 private:
  /// Passes on what it wrote to stderr.
  void forward_errors();

  Spawner& spawner_;
  Child child_;
  std::optional<size_t> question_;
  Clock::time_point deadline_;
  std::string unsent_;
  size_t n_sent_ = 0;  // of this question
  std::string answer_;
  std::string last_errors_;
  std::optional<Held> held_;
  bool names_questions_ = true;
  bool is_starting_ = true;
};

}  // namespace orrery::algorithm
