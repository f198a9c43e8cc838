// The other end of Spawner: what the split-off process does. It was forked from a program that may
// have threads, so it allocates nothing.
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace orrery::algorithm {

inline constexpr size_t kMaxCommandBytes = 60'000;
inline constexpr size_t kMaxCommandWords = 1000;
inline constexpr size_t kPipesOfACommand = 3;  // to its stdin, from its stdout, from its stderr

/// Program -> spawner process, followed by the words, each ended by a zero byte (spawn only).
struct SpawnerRequest {
  enum Kind : int { kSpawn = 1, kEnd = 2 };
  Kind kind = kSpawn;
  int n_words = 0;
  pid_t pid = -1;  // kEnd
};

/// Spawner process -> program; a started command's pipes come with it.
struct SpawnerReply {
  int error = 0;  // errno of what failed
  pid_t pid = -1;
  int status = 0;  // kEnd: as from waitpid
};

/// The spawner process and whom it serves.
struct SpawnerSide {
  int socket = -1;
  int programs_end = -1;  // of the socket: a copy from before the fork
  pid_t program = -1;
};

/// Serves requests from the socket until its other end closes or the program is gone, then ends all
/// commands, what they left behind, and the process. What the system does not let it end within
/// seconds it leaves.
[[noreturn]] void serve_as_spawner(const SpawnerSide& side);

}  // namespace orrery::algorithm
