// External commands that answer lines with lines: some processes of one command, each with one
// question at a time. They are started when first needed and stay for the next call. A question
// that gets no answer is decided as such and the others go on; one whose process ended or hung
// without having read it is asked again, for it is not the reason. Local; one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "orrery/algorithm/spawner.h"

namespace orrery::algorithm {

class CommandProcess;  // src/algorithm/command_process.h

struct CommandPoolOptions {
  std::string command;                        ///< as command_words takes it
  std::chrono::duration<double> timeout{60};  ///< of one answer
  std::chrono::duration<double> start{0};     ///< more of the first answer of a process
  /// What a new process has at least until it has read its first question; the time of the answer
  /// begins then. How long an interpreter takes to start says nothing about answers.
  std::chrono::duration<double> first_read{0};
  /// How often a question is asked again whose command ended or spoke nonsense. One that had no
  /// answer in time is not: it would only cost the time once more.
  int64_t restarts = 1;
  int64_t concurrency = 1;  ///< processes
  /// So many questions without an answer before any had one: the command itself is broken. 0: no
  /// such limit.
  int64_t max_first_failures = 8;
  /// Called at least once a second while it waits. May be empty.
  std::function<void()> on_wait = {};
};

/// What became of a question.
struct CommandAnswer {
  enum class End {
    kAnswered,
    kTimeout,    ///< nothing in time
    kDied,       ///< it ended, or closed its output
    kMalformed,  ///< something else than one answer to this question
  };
  End end = End::kAnswered;
  std::string text;      ///< the answer's line without its end; else what came instead
  int64_t restarts = 0;  ///< processes that were ended for this question
};

/// What a line is to a question.
struct LineCheck {
  std::optional<std::string> problem = {};  ///< why it is no answer to it
  bool names_question = false;              ///< it says that it belongs to it

  bool is_named_answer() const { return !problem && names_question; }
};

class CommandPool {
  struct Round;  // one ask()

 public:
  /// Nothing is started yet. `spawner` must outlive it.
  CommandPool(Spawner& spawner, CommandPoolOptions options);
  ~CommandPool();  ///< ends all processes

  /// May be called again for the same question.
  using Check = std::function<LineCheck(size_t question, const std::string& line)>;
  /// Called once for each question, in any order. What it throws ends the asking.
  using Decided = std::function<void(size_t question, CommandAnswer answer)>;

  /// Asks all questions. The answers must not depend on which process gives them.
  /// Throws CallError, which names the command and what came instead of an answer, when processes
  /// end or hang again and again without having read a question, when none of the first questions
  /// gets an answer, and when lines that do not name their question cannot be told apart.
  void ask(const std::vector<std::string>& questions, const Check& check, const Decided& decided);

  /// An asking whose questions come one after another, while the caller does something else: what a
  /// process can do meanwhile it does whenever advance() is called. One at a time, and nothing is
  /// asked by ask() before it is over. All of its functions throw as ask() does, and are not to be
  /// called after that. Destroyed before finish(), it ends the processes that are busy.
  class Asking {
   public:
    Asking(CommandPool& pool, Check check, Decided decided);
    ~Asking();
    Asking(const Asking&) = delete;
    Asking& operator=(const Asking&) = delete;

    /// Question number 0, 1, ...; asked by the next advance() that finds a process without one.
    void add(std::string question);
    /// Processes that would take a question now, beside those that wait.
    size_t n_free() const;
    /// Gives questions to processes and takes answers that are there. Does not wait.
    void advance();
    /// Waits for the answers to questions that a process has. Those that none has got, or that
    /// would have to be asked again, stay undecided.
    void finish();

   private:
    CommandPool& pool_;
    const Check check_;
    const Decided decided_;
    std::vector<std::string> questions_;
    std::unique_ptr<Round> round_;  // null: it is over
  };

  /// Processes that had to be ended or had gone, since the last time this was asked.
  int64_t take_restarts() { return std::exchange(restarts_, 0); }

 private:
  using Slot = std::unique_ptr<CommandProcess>;

  /// Of the question that it is asked next.
  std::chrono::duration<double> time_to_read(const CommandProcess& process) const;
  void assign(Round& round);
  enum class Patience { kNone, kUntilSomethingHappens };
  void wait(Round& round, Patience patience);
  void take_line(Round& round, Slot& slot);
  void look_for_strays(Round& round);
  void settle(Round& round);
  /// The answer that `slot` holds stands.
  void confirm(Round& round, Slot& slot);
  /// The answer that it holds was not the only one: none of them counts.
  void revoke(Round& round, Slot& slot, const std::string& what);
  void ask_again_or_decide(Round& round, size_t question, CommandAnswer::End end,
                           const std::string& text);
  /// Ends all processes: their answers would come too late.
  void abandon();
  /// Ends the process of `slot`, which has failed by `what`; returns what is known about it.
  std::string replace(Round& round, Slot& slot, const std::string& what);
  void fail(Round& round, Slot& slot, CommandAnswer::End end, const std::string& what);
  void ask_again_unread(Round& round, Slot& slot, const std::string& what);
  void decide(Round& round, size_t question, CommandAnswer answer);
  [[noreturn]] void give_up(const std::string& what, const std::string& question,
                            const std::string& got, const std::string& advice) const;

  Spawner& spawner_;
  CommandPoolOptions options_;
  std::vector<std::string> words_;
  std::vector<Slot> processes_;
  int64_t restarts_ = 0;
  int64_t n_answered_ = 0;      // ever
  int64_t n_failed_first_ = 0;  // before the first answer
  int64_t n_unread_ = 0;        // in a row: ended or hung without having read its question
  bool has_told_of_names_ = false;
};

}  // namespace orrery::algorithm
