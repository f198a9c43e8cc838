#include "orrery/report/samples.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <unordered_map>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/hash.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"
#include "orrery/report/script_text.h"

namespace orrery::report {

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

constexpr size_t kMostProblems = 20;
constexpr size_t kOfEachStep = 4;  // first, last, best, worst

std::string text_in(const Json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || found->is_null()) return {};
  return found->is_string() ? found->get<std::string>() : base::json_line(*found);
}

int64_t integer_in(const Json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

/// The step that the name of a file says, or -1: `step-00000012-rank-0.jsonl`.
int64_t step_of(const fs::path& file) {
  const std::string name = file.filename().string();
  if (!name.starts_with("step-") || file.extension() != ".jsonl") return -1;
  int64_t step = 0;
  size_t place = 5;
  for (; place < name.size() && name[place] >= '0' && name[place] <= '9'; ++place) {
    if (step > INT64_MAX / 16) return -1;
    step = 10 * step + (name[place] - '0');
  }
  return place > 5 ? step : -1;
}

std::string record_name(const Sample& sample) {
  return sample.record.empty() ? sample.dataset + "\n" + sample.prompt
                               : sample.dataset + "\n" + sample.record;
}

void index_file(const fs::path& file, SampleIndex& index) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw OutputError(base::concat(file.string(), ": cannot be read"));
  const auto number = static_cast<uint32_t>(index.files.size());
  index.files.push_back(file);
  uint64_t offset = 0;
  int64_t n_line = 0;
  for (std::string line; std::getline(in, line) && !in.eof(); offset += line.size() + 1) {
    ++n_line;
    std::string problem;
    const auto sample = parse_sample(line, problem);
    if (!sample) {
      ++index.n_problems;
      if (index.problems.size() < kMostProblems) {
        index.problems.push_back(base::concat("samples/", file.filename().string(), ":", n_line,
                                              ": ", problem, "; the line is left out"));
      }
      continue;
    }
    const double reward = sample->reward.value_or(std::numeric_limits<double>::quiet_NaN());
    index.places.push_back({.step = sample->step,
                            .record = base::hash64(record_name(*sample)),
                            .offset = offset,
                            .length = static_cast<uint32_t>(line.size()),
                            .file = number,
                            .reward = static_cast<float>(reward)});
  }
}

/// Half-open spans of `places` with one step each.
std::vector<std::pair<size_t, size_t>> steps_of(const std::vector<SamplePlace>& places) {
  std::vector<std::pair<size_t, size_t>> steps;
  for (size_t begin = 0, end = 0; begin < places.size(); begin = end) {
    while (end < places.size() && places[end].step == places[begin].step) ++end;
    steps.emplace_back(begin, end);
  }
  return steps;
}

/// The records whose mean reward of the last step that has them differs most from the first's.
std::vector<size_t> most_changed(const std::vector<SamplePlace>& places, size_t n_records) {
  struct Mean {
    int64_t step = -1;
    double sum = 0;
    int64_t n = 0;
    std::vector<size_t> members = {};
    void add(const SamplePlace& place, size_t index) {
      if (place.step != step) *this = {.step = place.step};
      sum += place.reward;
      n += 1;
      members.push_back(index);
    }
    double mean() const { return sum / static_cast<double>(n); }
  };
  struct Change {
    Mean first, last;
  };
  std::unordered_map<uint64_t, Change> changes;
  for (size_t i = 0; i < places.size(); ++i) {
    if (!std::isfinite(places[i].reward)) continue;
    Change& change = changes[places[i].record];
    if (change.first.n == 0 || change.first.step == places[i].step) change.first.add(places[i], i);
    change.last.add(places[i], i);
  }
  std::vector<std::pair<double, const Change*>> order;
  for (const auto& [record, change] : changes) {
    const double difference = std::abs(change.last.mean() - change.first.mean());
    if (change.first.step < change.last.step && difference > 0) {
      order.emplace_back(difference, &change);
    }
  }
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first
                              : a.second->first.members.front() < b.second->first.members.front();
  });
  std::vector<size_t> chosen;
  for (size_t i = 0; i < order.size() && i < n_records; ++i) {
    const Change& change = *order[i].second;
    chosen.insert(chosen.end(), change.first.members.begin(), change.first.members.end());
    chosen.insert(chosen.end(), change.last.members.begin(), change.last.members.end());
  }
  return chosen;
}

/// The answers of one step in the order in which they are wanted.
std::vector<size_t> wanted_of_step(const std::vector<SamplePlace>& places, size_t begin,
                                   size_t end) {
  size_t best = begin, worst = begin;
  for (size_t i = begin; i < end; ++i) {
    if (!std::isfinite(places[i].reward)) continue;
    if (!(places[i].reward <= places[best].reward)) best = i;
    if (!(places[i].reward >= places[worst].reward)) worst = i;
  }
  std::vector<size_t> order = {begin, best, worst, end - 1};
  std::vector<size_t> others(end - begin);
  for (size_t i = begin; i < end; ++i) others[i - begin] = i;
  const auto draw = [&](size_t i) {
    const uint64_t name[2] = {static_cast<uint64_t>(places[i].step), i - begin};
    return base::hash64({reinterpret_cast<const char*>(name), sizeof(name)});
  };
  std::sort(others.begin(), others.end(), [&](size_t a, size_t b) { return draw(a) < draw(b); });
  order.insert(order.end(), others.begin(), others.end());
  return order;
}

}  // namespace

std::optional<Sample> parse_sample(std::string_view line, std::string& problem) {
  const auto parsed = base::parse_json(line);
  problem = parsed.problem;
  if (!problem.empty()) return std::nullopt;
  const Json& value = parsed.value;
  if (!value.is_object() || !value.contains("response") || !value.contains("step") ||
      !value["step"].is_number_integer()) {
    problem = "no answer of a step";
    return std::nullopt;
  }
  Sample sample{.step = integer_in(value, "step"),
                .id = integer_in(value, "id"),
                .member = integer_in(value, "member"),
                .prompt = text_in(value, "prompt"),
                .response = text_in(value, "response"),
                .answer = text_in(value, "answer"),
                .finish = text_in(value, "finish"),
                .failed = text_in(value, "failed"),
                .dataset = text_in(value, "dataset"),
                .record = text_in(value, "record")};
  if (value.contains("reward") && value["reward"].is_number()) {
    sample.reward = value["reward"].get<double>();
  }
  if (value.contains("tokens") && value.contains("logprobs") && value["tokens"].is_array() &&
      value["logprobs"].is_array() && value["tokens"].size() == value["logprobs"].size()) {
    for (const Json& token : value["tokens"]) {
      sample.tokens.push_back(token.is_string() ? token.get<std::string>() : token.dump());
    }
    for (const Json& number : value["logprobs"]) {
      sample.log_probs.push_back(number.is_number() ? number.get<double>()
                                                    : std::numeric_limits<double>::quiet_NaN());
    }
  }
  return sample;
}

SampleIndex index_samples(const fs::path& run, const StepRange& steps) {
  SampleIndex index;
  for (const fs::path& file : base::list_folder(run / "samples")) {
    const int64_t step = step_of(file);
    if (step < 0 || step < steps.first || step > steps.last) continue;
    index_file(file, index);
  }
  std::stable_sort(index.places.begin(), index.places.end(),
                   [](const SamplePlace& a, const SamplePlace& b) { return a.step < b.step; });
  return index;
}

std::string choice_text(const SampleLimits& limits) {
  return base::concat(
      "at most ", limits.samples, " answers and ",
      base::bytes_text(static_cast<int64_t>(limits.bytes)),
      " of a run; where there are more: of each step, in equal shares, the first, the "
      "last, the best and the worst answer, then others drawn at random; and of the ",
      limits.changed,
      " records whose mean reward changed most all answers of their "
      "first and last step");
}

std::vector<size_t> choose_samples(const std::vector<SamplePlace>& places,
                                   const SampleLimits& limits) {
  std::vector<char> taken(places.size(), 0);
  size_t n = 0;
  uint64_t bytes = 0;
  const auto take = [&](size_t i) {
    if (taken[i] || n + 1 > limits.samples || bytes + places[i].length > limits.bytes) return;
    taken[i] = 1;
    n += 1;
    bytes += places[i].length;
  };
  uint64_t all_bytes = 0;
  for (const SamplePlace& place : places) all_bytes += place.length;
  if (places.size() <= limits.samples && all_bytes <= limits.bytes) {
    for (size_t i = 0; i < places.size(); ++i) take(i);
  } else {
    const auto changed = most_changed(places, limits.changed);
    for (size_t i = 0; i < changed.size() && n < limits.samples / 4 && bytes < limits.bytes / 4;
         ++i) {
      take(changed[i]);
    }
    // By bytes as well: an answer of mean length for each place of a share.
    const uint64_t mean = std::max<uint64_t>(1, all_bytes / places.size());
    const size_t room = std::min<size_t>(limits.samples - n, (limits.bytes - bytes) / mean);
    auto steps = steps_of(places);
    const size_t n_steps = std::max<size_t>(2, std::min(steps.size(), room / kOfEachStep));
    if (n_steps < steps.size()) {
      std::vector<std::pair<size_t, size_t>> spaced;
      for (size_t i = 0; i < n_steps; ++i) {
        spaced.push_back(steps[i * (steps.size() - 1) / (n_steps - 1)]);
      }
      steps = std::move(spaced);
    }
    std::vector<std::vector<size_t>> wanted;
    for (const auto& [begin, end] : steps) wanted.push_back(wanted_of_step(places, begin, end));
    // In rounds, so that what one step has no use for goes to the others.
    bool more = true;
    for (size_t round = 0; more && n < limits.samples && bytes < limits.bytes; ++round) {
      more = false;
      for (const std::vector<size_t>& of_step : wanted) {
        if (round >= of_step.size()) continue;
        take(of_step[round]);
        more = true;
      }
    }
  }
  std::vector<size_t> chosen;
  for (size_t i = 0; i < taken.size(); ++i) {
    if (taken[i]) chosen.push_back(i);
  }
  return chosen;
}

std::string read_sample_line(const SampleIndex& index, const SamplePlace& place) {
  const fs::path& file = index.files.at(place.file);
  std::ifstream in(file, std::ios::binary);
  std::string line(place.length, '\0');
  if (!in.seekg(static_cast<std::streamoff>(place.offset)) ||
      !in.read(line.data(), static_cast<std::streamsize>(place.length))) {
    throw OutputError(base::concat(file.string(), ": it became shorter while it was read"),
                      {.expected = "files of samples that only grow",
                       .got = "a run that began again",
                       .advice = "write the report again"});
  }
  return line;
}

namespace {

std::string shortened(std::string text) {
  if (text.size() <= kMostTextBytes) return text;
  const size_t left_out = text.size() - kMostTextBytes;
  text.resize(kMostTextBytes);
  return base::concat(text, " [", left_out, " bytes left out]");
}

}  // namespace

void write_samples(ScriptText& out, const SampleIndex& index, const std::vector<size_t>& chosen) {
  // Prompts, data sets and references repeat: each text once, answers point to it.
  std::unordered_map<std::string, size_t> numbers;
  std::vector<std::string> texts;
  const auto number_of = [&](std::string text) {
    text = shortened(std::move(text));
    const auto [place, is_new] = numbers.emplace(text, texts.size());
    if (is_new) texts.push_back(std::move(text));
    return static_cast<int64_t>(place->second);
  };
  out.begin_object();
  out.key("rows").begin_list();
  for (const size_t i : chosen) {
    std::string problem;
    const auto sample = parse_sample(read_sample_line(index, index.places[i]), problem);
    if (!sample) continue;
    out.begin_list();
    out.integer(sample->step).integer(sample->id).integer(sample->member);
    out.number(sample->reward.value_or(std::numeric_limits<double>::quiet_NaN()));
    out.integer(number_of(sample->prompt)).integer(number_of(sample->answer));
    out.text(shortened(sample->response));
    out.integer(number_of(sample->finish)).integer(number_of(sample->failed));
    out.integer(number_of(sample->dataset)).integer(number_of(sample->record));
    if (!sample->tokens.empty()) {
      out.begin_list();
      for (const std::string& token : sample->tokens) out.text(token);
      out.end_list().begin_list();
      for (const double number : sample->log_probs) out.number(number);
      out.end_list();
    }
    out.end_list();
  }
  out.end_list();
  out.key("texts").begin_list();
  for (const std::string& text : texts) out.text(text);
  out.end_list().end_object();
}

}  // namespace orrery::report
