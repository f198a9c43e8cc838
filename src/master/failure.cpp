#include "orrery/master/failure.h"

#include <string_view>
#include <vector>

#include "orrery/base/text.h"

namespace orrery::master {

namespace {

/// Names in a line.
constexpr size_t kMaxNamed = 16;

bool names_its_worker(const Failure& failure) {
  return failure.error.starts_with(base::concat("worker ", failure.worker, " on "));
}

/// The error without `worker 2 on HOST`: the same for all workers that failed in the same way.
std::string_view what_happened(const Failure& failure) {
  const std::string_view error = failure.error;
  if (!names_its_worker(failure)) return error;
  const size_t end = error.find_first_of(",:");
  return end == std::string_view::npos ? std::string_view() : error.substr(end);
}

bool are_the_same(const Failure& a, const Failure& b) {
  return a.call == b.call && a.request_kind == b.request_kind &&
         what_happened(a) == what_happened(b);
}

std::string line_of(const Failure& first, const std::vector<int>& others) {
  std::string line = first.error;
  if (!names_its_worker(first)) {
    const std::string where = first.call.empty() ? std::string()
                                                 : base::concat(", call ", first.call, ", ",
                                                                comm::name_of(first.request_kind));
    line = base::concat("worker ", first.worker, where, ": ", line);
  }
  if (others.empty()) return line;
  std::vector<std::string> named;
  for (const int worker : others) {
    if (named.size() == kMaxNamed) {
      named.push_back(base::concat("and ", others.size() - kMaxNamed, " more"));
      break;
    }
    named.push_back(base::concat(worker));
  }
  return base::concat(line, " (the same from worker", others.size() == 1 ? " " : "s ",
                      base::join(named, ", "), ")");
}

}  // namespace

std::string text_of(std::span<const Failure> failures) {
  std::vector<std::string> lines;
  std::vector<bool> is_said(failures.size());
  for (size_t i = 0; i < failures.size(); ++i) {
    if (is_said[i]) continue;
    std::vector<int> others;
    for (size_t k = i + 1; k < failures.size(); ++k) {
      if (is_said[k] || !are_the_same(failures[i], failures[k])) continue;
      is_said[k] = true;
      others.push_back(failures[k].worker);
    }
    lines.push_back(line_of(failures[i], others));
  }
  return base::join(lines, "\n");
}

}  // namespace orrery::master
