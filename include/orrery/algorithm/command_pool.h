// External commands that answer lines with lines: some processes of one command, each with one
// question at a time. They are started when first needed and stay for the next call. One that dies,
// hangs or talks nonsense is ended and started again, so many times; then the call fails and says
// what was seen. Local; one thread.
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

struct CommandPoolOptions {
  std::string command;                        ///< as command_words takes it
  std::chrono::duration<double> timeout{60};  ///< of one answer; the first one's: start included
  int64_t restarts = 3;                       ///< in one ask()
  int64_t concurrency = 1;                    ///< processes
};

class CommandPool {
 public:
  /// Nothing is started yet. `spawner` must outlive it.
  CommandPool(Spawner& spawner, CommandPoolOptions options);
  ~CommandPool();  ///< ends all processes

  /// Why an answer is none, or nothing. It may be called again for the same question.
  using Check = std::function<std::optional<std::string>(size_t question, const std::string& line)>;

  /// An answer line (without its end) for each question line, in the order of the questions. The
  /// answers must not depend on which process gives them.
  /// Throws CallError that names the command, the question and what came instead of an answer.
  std::vector<std::string> ask(const std::vector<std::string>& questions, const Check& check);

  /// Processes that had to be started again, since the last time this was asked.
  int64_t take_restarts() { return std::exchange(restarts_, 0); }

 private:
  class Process;
  struct Round;  // one ask()

  void assign(Round& round);
  void wait(Round& round);
  void fail(Round& round, Process& process, const std::string& what);

  Spawner& spawner_;
  CommandPoolOptions options_;
  std::vector<std::string> words_;
  std::vector<std::unique_ptr<Process>> processes_;
  int64_t restarts_ = 0;
};

}  // namespace orrery::algorithm
