#include "mailbox.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <set>
#include <stdexcept>
#include <system_error>

namespace orrery::simulated_gpu {

namespace {

namespace fs = std::filesystem;
constexpr char kParent[] = "/dev/shm";
constexpr char kName[] = "simulated-nccl.";  // then the process, then a number

/// What this process made; a forked child, which inherits the list, removes nothing of it.
struct OwnFolders {
  ~OwnFolders() {
    std::error_code ignored;
    if (::getpid() != process) return;
    for (const std::string& folder : folders) fs::remove_all(folder, ignored);
  }
  pid_t process = ::getpid();
  std::mutex lock;
  std::set<std::string> folders;
};

void remove_folders_of_the_dead() {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(kParent, ignored)) {
    const std::string name = entry.path().filename();
    if (name.rfind(kName, 0) != 0) continue;
    const int process = std::atoi(name.c_str() + sizeof kName - 1);
    if (process > 0 && ::kill(process, 0) != 0 && errno == ESRCH) {
      fs::remove_all(entry.path(), ignored);
    }
  }
}

}  // namespace

std::string Mailbox::new_folder() {
  static OwnFolders own;
  const std::lock_guard lock(own.lock);
  if (own.folders.empty()) remove_folders_of_the_dead();
  const std::string folder = std::string(kParent) + "/" + kName + std::to_string(::getpid()) + "." +
                             std::to_string(own.folders.size());
  fs::create_directory(folder);
  own.folders.insert(folder);
  return folder;
}

void Mailbox::put(const std::string& name, std::string_view bytes) const {
  const std::string partial = path_of(name) + ".part";
  std::ofstream file(partial, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file && !is_gone()) throw std::runtime_error("cannot write " + partial);
  std::error_code ignored;  // the folder may be gone
  fs::rename(partial, path_of(name), ignored);
}

bool Mailbox::has(const std::string& name) const {
  return ::access(path_of(name).c_str(), F_OK) == 0;
}

std::string Mailbox::get(const std::string& name) const {
  std::ifstream file(path_of(name), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Mailbox::remove(const std::string& name) const { ::unlink(path_of(name).c_str()); }

bool Mailbox::is_gone() const { return ::access(folder_.c_str(), F_OK) != 0; }

}  // namespace orrery::simulated_gpu
