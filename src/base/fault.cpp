#include "orrery/base/fault.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <limits>
#include <new>  // bad_alloc
#include <string>
#include <string_view>
#include <thread>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::base {

namespace {

struct Fault {
  std::string point;
  std::string action;
  int at = 1;
};

Fault wanted_fault() {
  const char* const text = std::getenv("ORRERY_FAULT");
  if (text == nullptr) return {};
  const std::string_view all = text;
  const size_t first = all.find(':');
  if (first == std::string_view::npos) return {};
  const size_t second = all.find(':', first + 1);
  Fault fault{.point = std::string(all.substr(0, first)),
              .action = std::string(all.substr(first + 1, second - first - 1))};
  if (second != std::string_view::npos) fault.at = std::atoi(text + second + 1);
  return fault;
}

/// What is to happen at this passing of the point; empty: nothing.
std::string_view due_action(const char* name) {
  static const Fault fault = wanted_fault();
  if (fault.point.empty() || fault.point != name) return {};
  static std::atomic<int> passed = 0;
  const int pass = ++passed;
  const bool is_due = fault.action == "slow" ? pass >= fault.at : pass == fault.at;
  return is_due ? std::string_view(fault.action) : std::string_view();
}

}  // namespace

void fault_point(const char* name) {
  const std::string_view action = due_action(name);
  if (action == "kill") ::kill(::getpid(), SIGKILL);
  if (action == "exit") ::_exit(0);
  if (action == "slow") std::this_thread::sleep_for(std::chrono::milliseconds(200));
  if (action == "memory") throw std::bad_alloc();
  if (action == "error") throw OutputError(concat(name, ": Input/output error (injected)"));
}

double fault_value(const char* name, double value) {
  return due_action(name) == "nan" ? std::numeric_limits<double>::quiet_NaN() : value;
}

}  // namespace orrery::base
