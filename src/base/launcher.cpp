#include "orrery/base/launcher.h"

#include <unistd.h>  // getppid

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string_view>

#include "orrery/base/text.h"

namespace orrery::base {

namespace {

std::string read_all(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Each word of a /proc/*/cmdline ends with a zero.
std::vector<std::string> words_of(const std::string& process) {
  std::vector<std::string> words = split(read_all(process + "/cmdline"), '\0');
  if (!words.empty() && words.back().empty()) words.pop_back();
  return words;
}

bool is_mpirun(std::string_view name) {
  constexpr std::string_view kNames[] = {"mpirun", "mpiexec", "orterun", "prterun"};
  return std::any_of(std::begin(kNames), std::end(kNames),
                     [&](std::string_view one) { return name.starts_with(one); });
}

}  // namespace

std::optional<Launcher> launcher() {
  const int pid = ::getppid();
  const std::string process = concat("/proc/", pid);
  if (!is_mpirun(read_all(process + "/comm"))) return std::nullopt;
  return Launcher{.pid = pid, .words = words_of(process)};
}

std::vector<std::string> own_words() { return words_of("/proc/self"); }

}  // namespace orrery::base
