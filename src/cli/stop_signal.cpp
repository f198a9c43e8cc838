#include "stop_signal.h"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <string_view>

#include "orrery/base/error.h"  // ExitCode

namespace orrery::cli {

namespace {

constexpr int kStopSignals[] = {SIGUSR1, SIGTERM, SIGINT};

std::atomic<bool> is_requested = false;
static_assert(std::atomic<bool>::is_always_lock_free, "set in a signal handler");

void note(int) { is_requested = true; }

void exit_at_once(int) {
  constexpr std::string_view kText =
      "orrery: asked to stop before the first step: nothing was begun; submit again (85)\n";
  const ssize_t ignored = ::write(STDERR_FILENO, kText.data(), kText.size());
  static_cast<void>(ignored);
  ::_exit(static_cast<int>(ExitCode::kStoppedOnPurpose));
}

void handle_with(void (*handler)(int)) {
  for (const int signal : kStopSignals) std::signal(signal, handler);
}

}  // namespace

void exit_on_stop_signals() { handle_with(exit_at_once); }
void note_stop_signals() { handle_with(note); }
bool is_stop_requested() { return is_requested; }
void ignore_stop_signals() { handle_with(SIG_IGN); }

}  // namespace orrery::cli
