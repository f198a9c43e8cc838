#include "command_process.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "orrery/base/log.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

constexpr size_t kLongestAnswer = size_t{1} << 20;
constexpr size_t kKeptOfErrors = 500;

}  // namespace

CommandProcess::~CommandProcess() {
  try {
    end();
  } catch (const std::exception& error) {
    base::log_warning(base::concat("ending a command: ", error.what()));
  }
}

std::string CommandProcess::end() {
  if (child_.pid < 0) return "ended before";
  forward_errors();
  const std::string last(base::trim(last_errors_));  // not what it says about its closed pipes
  child_.input = base::FileDescriptor();
  child_.output = base::FileDescriptor();
  std::string text = spawner_.end(std::exchange(child_.pid, -1));
  forward_errors();
  child_.errors = base::FileDescriptor();
  if (!last.empty()) text += base::concat("; its stderr ends with: ", last);
  return text;
}

void CommandProcess::ask(size_t question, const std::string& line, Clock::time_point deadline) {
  question_ = question;
  deadline_ = deadline;
  unsent_ = line + "\n";
  n_sent_ = 0;
  answer_.clear();
}

void CommandProcess::has_started(Clock::time_point due) {
  is_starting_ = false;
  deadline_ = due;
}

void CommandProcess::hold(std::string line, Named named) {
  held_ = Held{.question = *question_, .line = std::move(line)};
  question_.reset();
  answer_.clear();
  if (named == Named::kNo) names_questions_ = false;
}

bool CommandProcess::has_read() const {
  if (n_sent_ == 0) return false;
  int unread = 0;  // what is left in the pipe, also when its reader has gone
  return ioctl(child_.input.get(), FIONREAD, &unread) != 0 || static_cast<size_t>(unread) < n_sent_;
}

void CommandProcess::add_to(std::vector<pollfd>& polled) const {
  polled.push_back({child_.output.get(), POLLIN, 0});
  polled.push_back({unsent_.empty() ? -1 : child_.input.get(), POLLOUT, 0});
  polled.push_back({child_.errors.get(), POLLIN, 0});
}

CommandProcess::Progress CommandProcess::advance() {
  forward_errors();
  bool is_deaf = false;
  while (!unsent_.empty()) {
    const ssize_t sent = write(child_.input.get(), unsent_.data(), unsent_.size());
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) break;
    if (sent < 0) {  // it does not read any more; what it has written comes first
      is_deaf = true;
      break;
    }
    unsent_.erase(0, static_cast<size_t>(sent));
    n_sent_ += static_cast<size_t>(sent);
  }
  while (true) {
    char bytes[4096];
    const ssize_t got = read(child_.output.get(), bytes, sizeof(bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return is_deaf ? Progress::kGone : Progress::kWaiting;
    if (got <= 0) return Progress::kGone;
    answer_.append(bytes, static_cast<size_t>(got));
    if (answer_.find('\n') != std::string::npos) return Progress::kAnswered;
    if (answer_.size() > kLongestAnswer) return Progress::kTooLong;
  }
}

CommandProcess::Idle CommandProcess::look() {
  const Progress progress = advance();
  if (!answer_.empty()) return Idle::kTalks;
  return progress == Progress::kGone ? Idle::kGone : Idle::kQuiet;
}

void CommandProcess::forward_errors() {
  char bytes[4096];
  while (child_.errors.get() >= 0) {
    const ssize_t got = read(child_.errors.get(), bytes, sizeof(bytes));
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) child_.errors = base::FileDescriptor();  // else poll would say so for ever
    if (got <= 0) return;
    for (ssize_t at = 0; at < got;) {
      const ssize_t written = write(STDERR_FILENO, bytes + at, static_cast<size_t>(got - at));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) break;  // the job has no stderr to lose
      at += written;
    }
    last_errors_.append(bytes, static_cast<size_t>(got));
    if (last_errors_.size() > kKeptOfErrors) {
      last_errors_.erase(0, last_errors_.size() - kKeptOfErrors);
    }
  }
}

}  // namespace orrery::algorithm
