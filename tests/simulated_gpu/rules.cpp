#include "rules.h"

#include <cstdio>
#include <mutex>
#include <utility>

namespace orrery::simulated_gpu {

namespace {
struct Broken {
  std::mutex lock;
  std::vector<std::string> rules;
};
Broken& broken() {
  static auto* const all = new Broken;
  return *all;
}
}  // namespace

void break_rule(const std::string& what) {
  std::fprintf(stderr, "%s%s\n", kBrokenRule, what.c_str());
  const std::lock_guard lock(broken().lock);
  broken().rules.push_back(what);
}

std::vector<std::string> take_broken_rules() {
  const std::lock_guard lock(broken().lock);
  return std::exchange(broken().rules, {});
}

}  // namespace orrery::simulated_gpu
