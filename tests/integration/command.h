// Runs the program as a user does, and keeps what it said.
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace orrery::integration {

struct Result {
  int exit_code = -1;
  std::string output;  // standard output and error
};

/// Through the shell; a command that takes longer than `seconds` is ended with exit code 124.
inline Result run(const std::string& command, int seconds = 60) {
  const std::string line =
      "timeout --kill-after=5 " + std::to_string(seconds) + " bash -c '" + command + "' 2>&1";
  Result result;
  FILE* const pipe = ::popen(line.c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 4096> piece;
  while (const size_t n = std::fread(piece.data(), 1, piece.size(), pipe)) {
    result.output.append(piece.data(), n);
  }
  const int status = ::pclose(pipe);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

/// `mpirun -n RANKS orrery ARGUMENTS` with what Open MPI wants on a small machine.
inline Result orrery(int ranks, const std::string& arguments, int seconds = 60) {
  return run(
      "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 PMIX_MCA_psec=native "
      "OMP_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1; mpirun --oversubscribe -n " +
          std::to_string(ranks) + " " + ORRERY_PROGRAM + " " + arguments,
      seconds);
}

/// `orrery ARGUMENTS` as one process.
inline Result orrery_alone(const std::string& arguments, int seconds = 60) {
  return run(std::string(ORRERY_PROGRAM) + " " + arguments, seconds);
}

/// The lines of a JSONL file.
inline std::vector<nlohmann::json> read_jsonl(const std::filesystem::path& file) {
  std::vector<nlohmann::json> lines;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

inline std::string source(const std::string& path) {
  return std::string(ORRERY_SOURCE_DIR) + "/" + path;
}

}  // namespace orrery::integration
