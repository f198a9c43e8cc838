#include "orrery/algorithm/spawner.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>  // timeval
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>  // sleep_for

#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "spawner_process.h"

namespace orrery::algorithm {

std::vector<std::string> command_words(std::string_view command) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (const char c : command) {
    if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else {
        word.push_back(c);
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
      in_word = true;
    } else if (c == ' ' || c == '\t') {
      if (in_word) words.push_back(std::exchange(word, {}));
      in_word = false;
    } else {
      word.push_back(c);
      in_word = true;
    }
  }
  if (quote != 0) {
    throw ConfigError(base::concat("command ", command, ": a quote ", quote, " is not closed"));
  }
  if (in_word) words.push_back(word);
  return words;
}

namespace {

bool is_executable(const std::filesystem::path& file) {
  return base::special_kind(file).empty() && access(file.c_str(), X_OK) == 0;
}

bool is_in_search_path(const std::string& program) {
  const char* const path = std::getenv("PATH");
  for (const std::string& folder : base::split(path == nullptr ? "/bin:/usr/bin" : path, ':')) {
    if (is_executable(std::filesystem::path(folder.empty() ? "." : folder) / program)) return true;
  }
  return false;
}

}  // namespace

std::optional<std::string> command_problem(std::string_view command) {
  std::vector<std::string> words;
  try {
    words = command_words(command);
  } catch (const ConfigError& error) {
    return error.what();
  }
  if (words.empty()) return "no command is given";
  const std::string& program = words.front();
  if (program.find('/') == std::string::npos) {
    if (is_in_search_path(program)) return std::nullopt;
    return base::concat("there is no program ", program, " in PATH");
  }
  try {
    if (!base::exists(program)) return base::concat("there is no program ", program);
  } catch (const OutputError& error) {
    return error.what();
  }
  if (!is_executable(program)) return base::concat(program, " is not an executable file");
  return std::nullopt;
}

namespace {

std::unique_ptr<Spawner>& spawner_of_this_program() {
  static std::unique_ptr<Spawner> spawner;
  return spawner;
}

/// Waits for the end of a child, but no longer than this.
bool has_gone(pid_t process, std::chrono::milliseconds deadline) {
  const auto until = std::chrono::steady_clock::now() + deadline;
  while (true) {
    const pid_t reaped = waitpid(process, nullptr, WNOHANG);
    if (reaped == process || (reaped < 0 && errno != EINTR)) return true;
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

std::string end_text(int status) {
  if (WIFSIGNALED(status)) return base::concat("killed by signal ", WTERMSIG(status));
  return base::concat("exited with status ", WEXITSTATUS(status));
}

}  // namespace

struct Spawner::Connection {
  base::FileDescriptor socket;
  pid_t process = -1;
  SpawnerDeadlines deadlines = {};

  [[noreturn]] void throw_gone() const {
    const bool is_silent = errno == EAGAIN;
    throw CallError(
        base::concat("the spawner process ", process, " of this program ",
                     is_silent ? "does not answer" : "has gone"),
        {.expected = "it lives as long as the program",
         .got = is_silent ? base::concat("nothing for ", deadlines.answer.count(), " ms")
                          : std::strerror(errno),
         .advice = "look for who killed it (out of memory?)"});
  }

  void send(const std::string& bytes) const {
    ssize_t sent;
    while ((sent = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL)) < 0 &&
           errno == EINTR) {
    }
    if (sent != static_cast<ssize_t>(bytes.size())) throw_gone();
  }

  /// The reply, and its descriptors in `received` where it has any.
  SpawnerReply receive(std::vector<base::FileDescriptor>& received) const {
    SpawnerReply reply;
    iovec data = {&reply, sizeof(reply)};
    alignas(cmsghdr) char control[CMSG_SPACE(kPipesOfACommand * sizeof(int))];
    msghdr message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    ssize_t got;
    while ((got = recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
    }
    if (got != static_cast<ssize_t>(sizeof(reply))) {
      if (got >= 0) errno = ECONNRESET;
      throw_gone();
    }
    const cmsghdr* const header = CMSG_FIRSTHDR(&message);
    if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
      int descriptors[kPipesOfACommand];
      std::memcpy(descriptors, CMSG_DATA(header), sizeof(descriptors));
      for (const int descriptor : descriptors) {
        received.emplace_back(descriptor);
        fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
      }
    }
    return reply;
  }
};

void Spawner::start() {
  if (spawner_of_this_program() == nullptr) {
    spawner_of_this_program() = std::make_unique<Spawner>();
  }
}

bool Spawner::is_running() { return spawner_of_this_program() != nullptr; }

Spawner& Spawner::running() {
  if (spawner_of_this_program() == nullptr) {
    throw CallError("external commands cannot be started: Spawner::start() was not called in main");
  }
  return *spawner_of_this_program();
}

Spawner::Spawner(SpawnerDeadlines deadlines) : connection_(std::make_unique<Connection>()) {
  connection_->deadlines = deadlines;
  std::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    throw CallError(base::concat("socketpair for the spawner process: ", std::strerror(errno)));
  }
  connection_->socket = base::FileDescriptor(ends[0]);
  const base::FileDescriptor other(ends[1]);
  const timeval deadline = {.tv_sec = deadlines.answer.count() / 1000,
                            .tv_usec = deadlines.answer.count() % 1000 * 1000};
  setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline));
  setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &deadline, sizeof(deadline));
  const pid_t program = getpid();
  connection_->process = fork();
  if (connection_->process == 0) {
    serve_as_spawner({.socket = ends[1], .programs_end = ends[0], .program = program});
  }
  if (connection_->process < 0) {
    throw CallError(base::concat("fork of the spawner process: ", std::strerror(errno)));
  }
}

Spawner::~Spawner() {
  connection_->socket = base::FileDescriptor();
  const std::chrono::milliseconds parting = connection_->deadlines.parting;
  if (has_gone(connection_->process, parting)) return;
  kill(connection_->process, SIGKILL);
  if (!has_gone(connection_->process, parting)) {
    base::log_warning(base::concat("the spawner process ", connection_->process,
                                   " of this program cannot be ended; it is left"));
  }
}

Child Spawner::spawn(const std::vector<std::string>& words) {
  const SpawnerRequest request{.n_words = static_cast<int>(words.size())};
  std::string bytes(reinterpret_cast<const char*>(&request), sizeof(request));
  for (const std::string& word : words) bytes.append(word.c_str(), word.size() + 1);
  if (bytes.size() > kMaxCommandBytes || words.size() > kMaxCommandWords) {
    throw CallError(
        base::concat("a command of ", base::counted(bytes.size(), "byte"), " is too long"));
  }
  connection_->send(bytes);
  std::vector<base::FileDescriptor> pipes;
  const SpawnerReply reply = connection_->receive(pipes);
  if (reply.error != 0 || pipes.size() != kPipesOfACommand) {
    throw CallError(base::concat("command ", base::join(words, " "), " cannot be started"),
                    {.expected = "an executable program",
                     .got = std::strerror(reply.error),
                     .advice = "try it by hand on this node"});
  }
  return {reply.pid, std::move(pipes[0]), std::move(pipes[1]), std::move(pipes[2])};
}

std::string Spawner::end(pid_t pid) {
  const SpawnerRequest request{.kind = SpawnerRequest::kEnd, .pid = pid};
  connection_->send(std::string(reinterpret_cast<const char*>(&request), sizeof(request)));
  std::vector<base::FileDescriptor> none;
  return end_text(connection_->receive(none).status);
}

}  // namespace orrery::algorithm
