#include "orrery/graph/layout.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <numeric>
#include <optional>
#include <set>

#include "orrery/base/counted.h"
#include "orrery/base/error.h"  // ConfigError
#include "orrery/base/text.h"   // concat, join, trim

namespace orrery::graph {

namespace {

// No machine has more; keeps a typo like `@0-30000000000` from filling memory.
constexpr int kMaxWorkers = 1'000'000;

/// Reads digits at the start of `text` and removes them; nothing when there are none or the number
/// is above kMaxWorkers.
std::optional<int> take_number(std::string_view& text) {
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  if (digits == 0) return std::nullopt;
  int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + digits, value);
  if (result.ec != std::errc() || value > kMaxWorkers) return std::nullopt;
  text.remove_prefix(digits);
  return static_cast<int>(value);
}

constexpr std::string_view kForm = "a layout reads like d2t2p1@0-3";

/// Reads `d2t2p1`. Returns whether it could be read to its end.
bool parse_degrees(std::string_view text, Layout& layout, std::vector<std::string>& problems) {
  std::string seen;
  std::string_view rest = text;
  if (rest.empty()) {
    problems.push_back(base::concat("layout has no degrees (", kForm, ")"));
    return false;
  }
  while (!rest.empty()) {
    const char letter = rest.front();
    int* degree = letter == 'd'   ? &layout.data
                  : letter == 't' ? &layout.tensor
                  : letter == 'p' ? &layout.pipe
                                  : nullptr;
    if (degree == nullptr) {
      problems.push_back(base::concat("layout has '", std::string(1, letter),
                                      "' where d, t or p is expected (", kForm, ")"));
      return false;
    }
    if (seen.find(letter) != std::string::npos) {
      problems.push_back(
          base::concat("layout gives the degree ", std::string(1, letter), " twice"));
      return false;
    }
    seen += letter;
    rest.remove_prefix(1);
    const std::optional<int> value = take_number(rest);
    if (!value || *value < 1) {
      problems.push_back(base::concat("layout needs a number from 1 to ", kMaxWorkers, " after ",
                                      std::string(1, letter), " (", kForm, ")"));
      return false;
    }
    *degree = *value;
  }
  if (int64_t{layout.data} * layout.tensor > kMaxWorkers ||
      int64_t{layout.data} * layout.tensor * layout.pipe > kMaxWorkers) {
    problems.push_back(base::concat("layout has more than ", kMaxWorkers, " shards"));
    return false;
  }
  return true;
}

/// Reads `0,2-3`. Returns whether it could be read to its end.
bool parse_workers(std::string_view text, std::vector<int>& workers,
                   std::vector<std::string>& problems) {
  std::string_view rest = text;
  while (true) {
    const std::optional<int> first = take_number(rest);
    std::optional<int> last = first;
    if (first && !rest.empty() && rest.front() == '-') {
      rest.remove_prefix(1);
      last = take_number(rest);
    }
    if (!first || !last || (!rest.empty() && rest.front() != ',')) {
      problems.push_back(base::concat("layout has a worker list that cannot be read: '", text,
                                      "' (", kForm, ", workers count from 0)"));
      return false;
    }
    if (*last < *first) {
      problems.push_back(base::concat("layout has the range ", *first, "-", *last,
                                      ", which runs backwards; list its workers one by one"));
      return false;
    }
    if (static_cast<int64_t>(workers.size()) + (*last - *first) >= kMaxWorkers) {
      problems.push_back(base::concat("layout lists more than ", kMaxWorkers, " workers"));
      return false;
    }
    for (int worker = *first; worker <= *last; ++worker) workers.push_back(worker);
    if (rest.empty()) return true;
    rest.remove_prefix(1);  // the comma
  }
}

}  // namespace

std::string Layout::text() const {
  return base::concat("d", data, "t", tensor, "p", pipe, "@", workers_text(workers));
}

Layout Layout::parse(std::string_view text) {
  ParsedLayout parsed = parse_layout(text);
  if (parsed.problems.empty()) return std::move(parsed.layout);
  throw ConfigError(base::concat("layout '", text, "': ", base::join(parsed.problems, "; ")),
                    {.expected = "degrees and workers like d2t2p1@0-3",
                     .got = std::string(text),
                     .advice = "data * tensor * pipe must equal the number of different workers"});
}

ParsedLayout parse_layout(std::string_view text) {
  ParsedLayout result;
  text = base::trim(text);
  const size_t at = text.find('@');
  const bool degrees_read = parse_degrees(text.substr(0, at), result.layout, result.problems);
  if (at == std::string_view::npos) {
    if (degrees_read) {
      result.layout.workers.resize(static_cast<size_t>(result.layout.size()));
      std::iota(result.layout.workers.begin(), result.layout.workers.end(), 0);
    }
    return result;
  }
  const bool workers_read =
      parse_workers(text.substr(at + 1), result.layout.workers, result.problems);
  if (!workers_read) return result;

  std::set<int> seen, twice;
  for (int worker : result.layout.workers) {
    if (!seen.insert(worker).second) twice.insert(worker);
  }
  for (int worker : twice) {
    result.problems.push_back(base::concat(
        "layout lists worker ", worker,
        " twice: a worker holds at most one shard of a replica, so each needs its own worker"));
  }
  const int n_listed = static_cast<int>(result.layout.workers.size());
  if (degrees_read && n_listed != result.layout.size()) {
    result.problems.push_back(base::concat("layout has d", result.layout.data, " * t",
                                           result.layout.tensor, " * p", result.layout.pipe, " = ",
                                           base::counted(result.layout.size(), "shard"),
                                           " but lists ", base::counted(n_listed, "worker")));
  }
  return result;
}

std::vector<std::string> placement_problems(const Layout& layout, int n_workers) {
  if (layout.workers.empty()) return {};
  const int highest = *std::max_element(layout.workers.begin(), layout.workers.end());
  if (highest < n_workers) return {};
  return {base::concat("layout ", layout.text(), " needs worker ", highest, ", but there are ",
                       base::counted(n_workers, "worker"), " (0 to ", n_workers - 1,
                       "); start at least ", highest + 2,
                       " ranks (the master is one) or use a smaller layout")};
}

Layout default_layout(int n_workers) {
  Layout layout;
  layout.data = n_workers;
  layout.workers.resize(static_cast<size_t>(n_workers));
  std::iota(layout.workers.begin(), layout.workers.end(), 0);
  return layout;
}

std::string workers_text(const std::vector<int>& workers) {
  std::string text;
  for (size_t first = 0; first < workers.size();) {
    size_t last = first;
    while (last + 1 < workers.size() && workers[last + 1] == workers[last] + 1) ++last;
    if (!text.empty()) text += ",";
    text += std::to_string(workers[first]);
    if (last > first) text += base::concat("-", workers[last]);
    first = last + 1;
  }
  return text;
}

}  // namespace orrery::graph
