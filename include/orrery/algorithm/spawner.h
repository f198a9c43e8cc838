// Starts external commands for a process that must not fork: with MPI, CUDA or threads about, only
// a process that was split off before all of them can do so safely. The spawner process does
// nothing but start, end and reap commands; it ends, and all its commands with it, when the program
// does, however that ends.
//
//   program  -- words of a command, pid to end -->  spawner process  -- fork, exec -->  command
//            <-- pid and the pipes (SCM_RIGHTS) ---                                        ^
//            <----------------- lines through the pipes, without the spawner -------------'
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orrery/base/file.h"

namespace orrery::algorithm {

/// The words of a command line: blanks separate, '...' and "..." keep them together, nothing else
/// is special. Throws ConfigError for a quote that is not closed.
std::vector<std::string> command_words(std::string_view command);

/// Why this command cannot be started here: empty, an open quote, no such program, one that may not
/// be executed. Nothing is started. Local.
std::optional<std::string> command_problem(std::string_view command);

/// A command that runs, in a process group of its own.
struct Child {
  pid_t pid = -1;
  base::FileDescriptor input;   ///< its stdin, non-blocking; closing it tells it to end
  base::FileDescriptor output;  ///< its stdout, non-blocking
  base::FileDescriptor errors;  ///< its stderr, non-blocking: who reads it passes it on
};

/// How long the program waits for its spawner process, which may be stopped or starved.
struct SpawnerDeadlines {
  std::chrono::milliseconds answer{60'000};   ///< to a request
  std::chrono::milliseconds parting{15'000};  ///< to end all commands; then it is killed
};

/// One thread.
class Spawner {
 public:
  /// Forks the spawner process of this program. The first thing in main: before MPI_Init and any
  /// thread. Also makes writing to a command that has gone an error instead of a signal (SIGPIPE).
  static void start();
  /// Throws CallError unless start() was called.
  static Spawner& running();
  static bool is_running();

  /// Forks now: for start() and for tests.
  explicit Spawner(SpawnerDeadlines deadlines = {});
  ~Spawner();  ///< ends all commands
  Spawner(const Spawner&) = delete;
  Spawner& operator=(const Spawner&) = delete;

  /// Throws CallError when the program cannot be executed, or when the spawner process has gone.
  Child spawn(const std::vector<std::string>& words);

  /// Ends the command and whatever it started, after a short grace if its pipes are closed.
  /// Returns how it ended: `exited with status 3`, `killed by signal 11`.
  std::string end(pid_t pid);

 private:
  struct Connection;
  std::unique_ptr<Connection> connection_;
};

}  // namespace orrery::algorithm
