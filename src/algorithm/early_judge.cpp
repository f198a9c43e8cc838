#include "early_judge.h"

#include "orrery/base/error.h"
#include "orrery/base/hash.h"
#include "orrery/base/json.h"
#include "orrery/metrics/trace.h"  // now_us

namespace orrery::algorithm {

namespace {

using Json = nlohmann::json;

Json json_of(int member, const EarlyVerdict& early) {
  Json json = {{"member", member}, {"question", early.question}};
  if (early.is_suspect) {
    json["suspect"] = true;
    return json;
  }
  const Verdict& verdict = early.verdict;
  json["restarts"] = verdict.restarts;
  if (verdict.failure) {
    json["failed"] = name_of(*verdict.failure);
    json["what"] = verdict.what;
  } else {
    json["reward"] = verdict.reward;
  }
  if (!verdict.parts.empty()) json["parts"] = verdict.parts;
  return json;
}

EarlyVerdict verdict_of(const Json& json) {
  EarlyVerdict early{.question = json.at("question").get<uint64_t>(),
                     .is_suspect = json.contains("suspect")};
  if (early.is_suspect) return early;
  Verdict& verdict = early.verdict;
  verdict.restarts = json.at("restarts").get<int64_t>();
  if (json.contains("failed")) {
    verdict.failure = failure_reason_named(json.at("failed").get<std::string>());
    verdict.what = json.at("what").get<std::string>();
  } else {
    verdict.reward = json.at("reward").get<double>();
  }
  if (json.contains("parts")) json.at("parts").get_to(verdict.parts);
  return early;
}

}  // namespace

EarlyVerdicts early_verdicts_of(const data::BatchMetadata& samples, const std::string& call) {
  EarlyVerdicts verdicts;
  const auto found = samples.extra.find(findings_for(call));
  if (found == samples.extra.end()) return verdicts;
  for (size_t i = 0; i < samples.size(); ++i) {
    const auto list = base::parse_json(found->second[i]).value;
    if (!list.is_array()) continue;
    for (const Json& json : list) {
      verdicts[{samples.ids[i].value, json.at("member").get<int>()}] = verdict_of(json);
    }
  }
  return verdicts;
}

EarlyJudge::EarlyJudge(AnswerJudge& judge, ResponseReader reader, size_t n_samples,
                       IsDecided is_decided)
    : judge_(judge),
      reader_(std::move(reader)),
      n_samples_(n_samples),
      is_decided_(std::move(is_decided)) {
  try {
    stream_ = std::make_unique<AnswerJudge::Stream>(judge_, [this](size_t answer, Verdict verdict) {
      asked_[answer].is_decided = true;
      asked_[answer].verdict.verdict = std::move(verdict);
      ++findings_.n_answers;
      findings_.ended_us = metrics::TraceWriter::now_us();
    });
  } catch (const CallError&) {
    stream_.reset();
  }
}

template <class Work>
void EarlyJudge::attempt(const Work& work) {
  if (stream_ == nullptr) return;
  try {
    work();
  } catch (const CallError&) {
    stream_.reset();
  }
}

void EarlyJudge::finished(size_t sample, int member, std::span<const int32_t> tokens,
                          size_t n_prompt) {
  if (stream_ == nullptr) return;
  Response response = reader_.read(sample, member, tokens, n_prompt);
  std::string question = judge_.question(response);
  if (is_decided_(response, question)) return;
  if (asked_.empty()) findings_.began_us = metrics::TraceWriter::now_us();
  asked_.push_back(
      {.sample = sample, .member = member, .verdict = {.question = base::hash64(question)}});
  stream_->add(std::move(response), std::move(question));
}

void EarlyJudge::advance() {
  attempt([this] { stream_->advance(); });
}

AnswerWatcher::Findings EarlyJudge::finish() {
  attempt([this] {
    for (const size_t suspect : stream_->finish()) {
      asked_[suspect].is_decided = true;
      asked_[suspect].verdict.is_suspect = true;
    }
  });
  stream_.reset();
  std::vector<Json> lists(n_samples_, Json::array());
  for (const Asked& asked : asked_) {
    if (asked.is_decided) lists[asked.sample].push_back(json_of(asked.member, asked.verdict));
  }
  for (const Json& list : lists) {
    findings_.of_samples.push_back(list.empty() ? "" : base::json_line(list));
  }
  if (findings_.n_answers == 0) findings_.began_us = findings_.ended_us = 0;
  return std::move(findings_);
}

}  // namespace orrery::algorithm
