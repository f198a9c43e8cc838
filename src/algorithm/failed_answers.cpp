#include "orrery/algorithm/failed_answers.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <sstream>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr size_t kNamedInTexts = 8;
constexpr size_t kLongestShown = 1000;

}  // namespace

std::string_view name_of(FailureReason reason) {
  switch (reason) {
    case FailureReason::kTimeout:
      return "timeout";
    case FailureReason::kDied:
      return "died";
    case FailureReason::kMalformed:
      return "malformed";
    case FailureReason::kNotFinite:
      return "not_finite";
    case FailureReason::kAbstained:
      return "abstained";
    case FailureReason::kRaised:
      return "raised";
    case FailureReason::kTooLong:
      return "too_long";
  }
  return "?";
}

std::optional<FailureReason> failure_reason_named(std::string_view name) {
  for (const FailureReason reason : kFailureReasons) {
    if (name_of(reason) == name) return reason;
  }
  return std::nullopt;
}

std::string text_of(const std::vector<FailedAnswer>& failed) {
  std::vector<std::string> counts;
  for (const FailureReason reason : kFailureReasons) {
    const auto n = std::count_if(failed.begin(), failed.end(),
                                 [&](const FailedAnswer& f) { return f.reason == reason; });
    if (n > 0) counts.push_back(base::concat(name_of(reason), " ", n));
  }
  std::vector<std::string> named;
  for (size_t i = 0; i < std::min(failed.size(), kNamedInTexts); ++i) {
    std::string text = base::concat(failed[i].sample, "/", failed[i].member);
    const std::string& what = failed[i].what;
    if (!what.empty() && i == 0) {
      text += base::concat(" (", what.substr(0, kLongestShown),
                           what.size() > kLongestShown ? "..." : "", ")");
    }
    named.push_back(std::move(text));
  }
  if (failed.size() > kNamedInTexts) {
    named.push_back(base::concat("and ", failed.size() - kNamedInTexts, " more"));
  }
  return base::concat(base::join(counts, ", "), ": ", base::join(named, ", "));
}

std::vector<FailedAnswer> gather_failed(const std::vector<FailedAnswer>& own,
                                        comm::Communicator& group) {
  constexpr int64_t kNumbers = 3;
  const auto n_ranks = static_cast<int64_t>(group.size());
  at::Tensor counts = at::empty({n_ranks}, at::kLong);
  group.all_gather(counts, at::tensor({static_cast<int64_t>(own.size())}, at::kLong));
  const int64_t most = counts.max().item<int64_t>();
  std::vector<FailedAnswer> all;
  if (most == 0) return all;
  at::Tensor mine = at::zeros({most, kNumbers}, at::kLong);
  auto* number = mine.mutable_data_ptr<int64_t>();
  for (const FailedAnswer& failed : own) {
    *number++ = static_cast<int64_t>(failed.sample);
    *number++ = failed.member;
    *number++ = static_cast<int64_t>(failed.reason);
  }
  at::Tensor gathered = at::empty({n_ranks, most, kNumbers}, at::kLong);
  group.all_gather(gathered, mine);
  const int64_t* const count = counts.const_data_ptr<int64_t>();
  for (int64_t rank = 0; rank < n_ranks; ++rank) {
    const int64_t* from = gathered.const_data_ptr<int64_t>() + rank * most * kNumbers;
    for (int64_t i = 0; i < count[rank]; ++i, from += kNumbers) {
      all.push_back({.sample = static_cast<uint64_t>(from[0]),
                     .member = from[1],
                     .reason = static_cast<FailureReason>(from[2])});
    }
  }
  return all;
}

FailedAnswerRecord::FailedAnswerRecord(fs::path folder, std::string call, int data_rank,
                                       int64_t first_step)
    : file_(folder / base::concat(call, "-rank-", data_rank, ".jsonl")), call_(std::move(call)) {
  for (const fs::path& file : base::list_folder(folder)) {
    std::istringstream in(base::read_file(file));
    for (std::string line; std::getline(in, line);) {
      const Json json = base::parse_json(line).value;
      if (!json.is_object()) continue;  // torn by the job's end: nothing was trained with it
      try {
        const auto reason = failure_reason_named(json.at("reason").get<std::string>());
        if (json.at("call") != call_ || json.at("step").get<int64_t>() < first_step || !reason) {
          continue;
        }
        const Key key{json.at("step").get<int64_t>(), json.at("id").get<uint64_t>(),
                      json.at("member").get<int64_t>(), json.at("question").get<uint64_t>()};
        known_[key] = {.sample = key.sample,
                       .member = key.member,
                       .reason = *reason,
                       .what = json.at("what").get<std::string>(),
                       .restarts = json.at("restarts").get<int64_t>(),
                       .question = key.question};
      } catch (const Json::exception& error) {
        throw CheckpointError(base::concat(file.string(), ": this is no failed answer: ",
                                           line.substr(0, kLongestShown)),
                              {.expected = "lines as the job wrote them",
                               .got = error.what(),
                               .advice = "remove the line: its answer is asked for again"});
      }
    }
  }
}

const FailedAnswer* FailedAnswerRecord::find(int64_t step, uint64_t sample, int64_t member,
                                             uint64_t question) const {
  const auto found = known_.find({step, sample, member, question});
  return found == known_.end() ? nullptr : &found->second;
}

void FailedAnswerRecord::add(int64_t step, const std::vector<FailedAnswer>& failed) {
  if (failed.empty()) return;
  std::string lines;
  if (out_ == nullptr) {
    std::error_code error;
    fs::create_directory(file_.parent_path(), error);
    if (error) throw OutputError(base::concat(file_.parent_path().string(), ": ", error.message()));
    base::end_last_line(file_);
    out_ = std::make_unique<base::AppendFile>(file_);
  }
  for (const FailedAnswer& answer : failed) {
    const nlohmann::ordered_json line = {{"step", step},
                                         {"call", call_},
                                         {"id", answer.sample},
                                         {"member", answer.member},
                                         {"reason", name_of(answer.reason)},
                                         {"what", answer.what},
                                         {"restarts", answer.restarts},
                                         {"question", answer.question}};
    lines += base::json_line(line) + "\n";
  }
  out_->write(lines);
}

void FailedShare::add(int64_t step, int64_t answers, int64_t expected,
                      const std::vector<FailedAnswer>& failed) {
  while (!steps_.empty() && steps_.back().step > step) steps_.pop_back();
  if (steps_.empty() || steps_.back().step < step) steps_.push_back({.step = step});
  if (steps_.size() > kSteps) steps_.pop_front();
  Step& last = steps_.back();
  last.answers += answers;
  last.expected = std::max(expected, last.answers);
  last.failed.insert(last.failed.end(), failed.begin(), failed.end());
}

FailedShare::Share FailedShare::of_step() const {
  const Step& last = steps_.back();
  return {.failed = std::ssize(last.failed), .answers = last.expected};
}

std::optional<FailedShare::Share> FailedShare::of_window() const {
  if (steps_.size() < kSteps) return std::nullopt;
  Share share;
  for (const Step& step : steps_) {
    share.failed += std::ssize(step.failed);
    share.answers += step.expected;
  }
  return share;
}

std::optional<FailedShare::Excess> FailedShare::excess(const FailureCeilings& ceilings) const {
  if (of_step().is_above(ceilings.of_step)) {
    return Excess{.share = of_step(), .is_of_step = true, .ceiling = ceilings.of_step};
  }
  const std::optional<Share> window = of_window();
  if (!window || !window->is_above(ceilings.of_20_steps)) return std::nullopt;
  return Excess{.share = *window, .is_of_step = false, .ceiling = ceilings.of_20_steps};
}

CallError FailedShare::Excess::error(const std::vector<FailedAnswer>& failed,
                                     const std::string& call, const std::string& advice) const {
  return CallError(
      base::concat(share.failed, " of ", share.answers, " answers of ",
                   is_of_step ? "the step" : "the last 20 steps", " have no reward"),
      {.expected = base::concat("at most a share of ", ceiling),
       .got = failed.empty() ? "none in this step" : text_of(failed),
       .advice = base::concat(advice, "; call.", call, ".", key(), " sets the limit")});
}

std::string FailedShare::state() const {
  if (steps_.empty()) return {};
  Json steps = Json::array();
  for (const Step& step : steps_) {
    Json failed = Json::array();
    for (const FailedAnswer& answer : step.failed) {
      failed.push_back({answer.sample, answer.member, name_of(answer.reason)});
    }
    steps.push_back({{"step", step.step}, {"answers", step.answers}, {"failed", failed}});
  }
  return Json{{"failed_answers", steps}}.dump();
}

void FailedShare::restore(const std::string& state) {
  std::deque<Step> steps;
  const auto [json, problem] = base::parse_json(state);
  try {
    for (const Json& step : json.at("failed_answers")) {
      Step& read = steps.emplace_back();
      read.step = step.at("step").get<int64_t>();
      read.answers = read.expected = step.at("answers").get<int64_t>();
      for (const Json& failed : step.at("failed")) {
        read.failed.push_back(
            {.sample = failed.at(0).get<uint64_t>(),
             .member = failed.at(1).get<int64_t>(),
             .reason = failure_reason_named(failed.at(2).get<std::string>()).value()});
      }
    }
  } catch (const std::exception& error) {
    throw CheckpointError(base::concat("this is no state of a reward command: \"",
                                       state.substr(0, kLongestShown), "\" (", error.what(), ")"));
  }
  steps_ = std::move(steps);
}

}  // namespace orrery::algorithm
