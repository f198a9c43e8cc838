#include "spawner_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>  // getdents64: opendir allocates
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>  // snprintf
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace orrery::algorithm {

namespace {

constexpr int kMaxChildren = 4096;
constexpr int kGraceMilliseconds = 200;
constexpr int kKillMilliseconds = 5000;    // for the system to end what was killed
constexpr int kExecMilliseconds = 30'000;  // for a program's file to be found and loaded
constexpr int kWatchMilliseconds = 1000;   // between looks at the program and at orphans

pid_t children[kMaxChildren];
int n_children = 0;

void forget(pid_t pid) {
  for (int i = 0; i < n_children; ++i) {
    if (children[i] == pid) children[i--] = children[--n_children];
  }
}

/// Waits until `pid` can be reaped, and reaps it. False: it cannot for so long.
bool reap(pid_t pid, int* status, int milliseconds) {
  for (int waited = 0;; waited += 5) {
    const pid_t reaped = waitpid(pid, status, WNOHANG);
    if (reaped == pid || (reaped < 0 && errno != EINTR)) return true;
    if (waited >= milliseconds) return false;
    poll(nullptr, 0, 5);
  }
}

/// Ends the group while its leader, even as a zombie, keeps the number from being used again.
int end_child(pid_t pid, int grace_milliseconds) {
  for (int waited = 0; waited < grace_milliseconds; waited += 5) {
    siginfo_t info = {};
    if (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0) break;
    if (info.si_pid == pid) break;
    poll(nullptr, 0, 5);
  }
  kill(-pid, SIGKILL);
  int status = 0;
  if (!reap(pid, &status, kKillMilliseconds)) status = SIGKILL;  // in the kernel, of a dead disk
  forget(pid);
  return status;
}

bool is_command(pid_t pid) {
  for (int i = 0; i < n_children; ++i) {
    if (children[i] == pid) return true;
  }
  return false;
}

/// The parent of a process and its state, from /proc. False: it is gone.
bool look_at(pid_t pid, pid_t& parent, char& state) {
  char path[64], text[512];
  std::snprintf(path, sizeof(path), "/proc/%d/stat", static_cast<int>(pid));
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  const ssize_t got = read(file, text, sizeof(text) - 1);
  close(file);
  if (got <= 0) return false;
  text[got] = 0;
  const char* const name_end = std::strrchr(text, ')');  // the name may have any character
  int number = -1;
  if (name_end == nullptr || std::sscanf(name_end + 1, " %c %d", &state, &number) != 2)
    return false;
  parent = number;
  return true;
}

/// Calls `visit` for each process that this one is the parent of but did not start: what a command
/// has left behind, in whatever group and session (this process is where orphans go).
template <class Visit>
void for_each_orphan(const Visit& visit) {
  const int folder = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  alignas(8) static char entries[32768];
  const pid_t self = getpid();
  long size = 0;
  while ((size = syscall(SYS_getdents64, folder, entries, sizeof(entries))) > 0) {
    for (long at = 0; at < size;) {
      unsigned short length = 0;  // struct linux_dirent64: inode, offset, length, type, name
      std::memcpy(&length, entries + at + 16, sizeof(length));
      const pid_t pid = std::atoi(entries + at + 19);
      at += length;
      pid_t parent = -1;
      char state = 0;
      if (pid > 0 && !is_command(pid) && look_at(pid, parent, state) && parent == self) {
        visit(pid, state);
      }
    }
  }
  close(folder);
}

bool has_ended_child() {
  siginfo_t info = {};
  return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0;
}

/// Zombies count against the user's limit on processes.
void reap_orphans() {
  if (!has_ended_child()) return;
  for_each_orphan([](pid_t pid, char state) {
    if (state == 'Z') waitpid(pid, nullptr, WNOHANG);
  });
}

/// A daemon may have children of its own, which come here when it goes: until there are none.
void end_orphans() {
  for (int waited = 0; waited < kKillMilliseconds; waited += 20) {
    bool is_any = false;
    for_each_orphan([&](pid_t pid, char state) {
      is_any = true;
      if (state != 'Z') kill(pid, SIGKILL);
      waitpid(pid, nullptr, WNOHANG);
    });
    if (!is_any) return;
    poll(nullptr, 0, 20);
  }
}

long milliseconds_now() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

struct Pipe {
  int read_end = -1;
  int write_end = -1;

  bool open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    read_end = ends[0];
    write_end = ends[1];
    return true;
  }
  void close_read() { close_end(read_end); }
  void close_write() { close_end(write_end); }
  void close_both() {
    close_read();
    close_write();
  }

 private:
  static void close_end(int& end) {
    if (end >= 0) close(end);
    end = -1;
  }
};

/// What a command is connected by.
struct CommandPipes {
  Pipe input, output, errors;

  bool open() { return input.open() && output.open() && errors.open(); }
  /// The command's ends.
  void close_theirs() {
    input.close_read();
    output.close_write();
    errors.close_write();
  }
  void close_all() {
    for (Pipe* const pipe : {&input, &output, &errors}) pipe->close_both();
  }
};

/// In the new process: becomes the command, or reports errno through `failure`.
[[noreturn]] void become(char* const* words, const CommandPipes& pipes, int failure,
                         pid_t spawner) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != spawner) _exit(127);  // it went before the line above
  for (const int signal : {SIGPIPE, SIGTERM, SIGHUP, SIGXFSZ}) std::signal(signal, SIG_DFL);
  if (dup2(pipes.input.read_end, STDIN_FILENO) >= 0 &&
      dup2(pipes.output.write_end, STDOUT_FILENO) >= 0 &&
      dup2(pipes.errors.write_end, STDERR_FILENO) >= 0) {
    execvp(words[0], words);
  }
  const int error = errno;
  const ssize_t ignored = write(failure, &error, sizeof(error));
  static_cast<void>(ignored);
  _exit(127);
}

/// 0 or errno.
int start_child(char* const* words, CommandPipes& pipes, pid_t& pid) {
  Pipe failure;
  if (n_children == kMaxChildren) return EAGAIN;
  if (!pipes.open() || !failure.open()) {
    const int error = errno;
    failure.close_both();
    return error;
  }
  const pid_t spawner = getpid();
  pid = fork();
  if (pid == 0) become(words, pipes, failure.write_end, spawner);
  int error = pid < 0 ? errno : 0;
  failure.close_write();
  if (pid > 0) {
    setpgid(pid, pid);  // whichever of the two comes first
    ssize_t got = 0;
    pollfd polled = {failure.read_end, POLLIN, 0};
    if (poll(&polled, 1, kExecMilliseconds) == 0) {  // its file is on a disk that does not answer
      kill(pid, SIGKILL);
      error = ETIMEDOUT;
      got = sizeof(error);
    } else {
      while ((got = read(failure.read_end, &error, sizeof(error))) < 0 && errno == EINTR) {
      }
    }
    if (got > 0) {
      reap(pid, nullptr, kKillMilliseconds);
    } else {
      error = 0;  // exec closed the pipe
      children[n_children++] = pid;
    }
  }
  failure.close_read();
  pipes.close_theirs();
  return error;
}

void reply_with(int socket, const SpawnerReply& reply, const int* descriptors, size_t n) {
  iovec data = {const_cast<SpawnerReply*>(&reply), sizeof(reply)};
  alignas(cmsghdr) char control[CMSG_SPACE(kPipesOfACommand * sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (n > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(n * sizeof(int));
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(n * sizeof(int));
    std::memcpy(CMSG_DATA(header), descriptors, n * sizeof(int));
  }
  while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

void spawn(int socket, const SpawnerRequest& request, char* text, const char* end) {
  static char* words[kMaxCommandWords + 1];
  int n = 0;
  for (char* at = text; at < end && n < request.n_words; at += std::strlen(at) + 1) words[n++] = at;
  words[n] = nullptr;
  SpawnerReply reply;
  CommandPipes pipes;
  reply.error = n == 0 ? EINVAL : start_child(words, pipes, reply.pid);
  const int descriptors[kPipesOfACommand] = {pipes.input.write_end, pipes.output.read_end,
                                             pipes.errors.read_end};
  reply_with(socket, reply, descriptors, reply.error == 0 ? kPipesOfACommand : 0);
  pipes.close_all();
}

}  // namespace

void serve_as_spawner(const SpawnerSide& side) {
  const int socket = side.socket;
  // Not below with the others: it may be 0, 1 or 2 where these were closed, and while this process
  // holds it the socket has no end.
  close(side.programs_end);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  // The job's signals are the program's business: what reaches a whole group must not end this
  // process first. It ends when the program's end of the socket closes.
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE}) {
    std::signal(signal, SIG_IGN);
  }
  std::signal(SIGCHLD, SIG_DFL);
  if (socket > 3) close_range(3, static_cast<unsigned>(socket) - 1, 0);
  close_range(static_cast<unsigned>(socket < 3 ? 3 : socket + 1), ~0U, 0);
  // A pipe of a command must be none of these, which become the command's own.
  for (int standard = 0; standard < 3; ++standard) {
    if (fcntl(standard, F_GETFD) < 0) open("/dev/null", O_RDWR);  // the lowest that is free
  }
  static char buffer[sizeof(SpawnerRequest) + kMaxCommandBytes + 1];
  for (long watched = milliseconds_now();;) {
    pollfd polled = {socket, POLLIN, 0};
    const int n_ready = poll(&polled, 1, kWatchMilliseconds);
    if (milliseconds_now() - watched >= kWatchMilliseconds) {  // also where requests never cease
      watched = milliseconds_now();
      if (getppid() != side.program) break;  // killed, while someone else holds the socket
      reap_orphans();
    }
    if (n_ready == 0) continue;
    const ssize_t got = recv(socket, buffer, sizeof(buffer) - 1, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) continue;
    if (got < 0 && errno == EINTR) continue;
    if (got < static_cast<ssize_t>(sizeof(SpawnerRequest))) break;
    buffer[got] = 0;
    SpawnerRequest request;
    std::memcpy(&request, buffer, sizeof(request));
    if (request.kind == SpawnerRequest::kSpawn) {
      spawn(socket, request, buffer + sizeof(request), buffer + got);
    } else {
      reply_with(socket, {.pid = request.pid, .status = end_child(request.pid, kGraceMilliseconds)},
                 nullptr, 0);
    }
  }
  while (n_children > 0) end_child(children[0], 0);
  end_orphans();
  _exit(0);
}

}  // namespace orrery::algorithm
