// What /proc says about processes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace orrery::algorithm {

/// Processes whose command line contains `text`, zombies not counted.
inline std::set<pid_t> processes_with(const std::string& text) {
  std::set<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline");  // empty for a zombie
    std::stringstream bytes;
    bytes << file.rdbuf();
    if (bytes.str().find(text) != std::string::npos) found.insert(std::stoi(name));
  }
  return found;
}

inline std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "status");
    const std::string wanted = "PPid:\t" + std::to_string(parent);
    for (std::string line; std::getline(file, line);) {
      if (line == wanted) found.push_back(std::stoi(name));
    }
  }
  return found;
}

/// Waits until there is none, for up to five seconds: processes go a little after their killing.
inline bool all_gone(const std::string& text) {
  for (int i = 0; i < 500; ++i) {
    if (processes_with(text).empty()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace orrery::algorithm
