#include "reward_lines.h"

#include <cmath>

#include "orrery/base/json.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownOfLine = 200;

/// A member that is JSON already: not read, so that no number is written in another way.
void append(std::string& object, const char* name, const std::string& json) {
  object.pop_back();
  object += base::concat(",\"", name, "\":", json, "}");
}

bool is_finite_fp32(double value) { return std::isfinite(static_cast<float>(value)); }

Verdict failed(FailureReason reason, std::string what) {
  return {.failure = reason, .what = std::move(what)};
}

RewardLine not_finite(const std::string& line, bool names_question) {
  return {.verdict = failed(FailureReason::kNotFinite, base::concat("not a finite number in fp32: ",
                                                                    line.substr(0, kShownOfLine))),
          .check = {.names_question = names_question}};
}

/// Of a line that is no JSON because of its number: JSON has neither 1e400 nor NaN and Infinity,
/// which several languages write all the same.
std::optional<RewardLine> read_no_number(const std::string& line, const std::string& id) {
  const auto has = [&](const std::string& text) { return line.find(text) != std::string::npos; };
  const bool names_question = has(base::concat('"', id, '"'));
  if (!has("\"reward\"") || (has("\"id\"") && !names_question)) return std::nullopt;
  return not_finite(line, names_question);
}

/// One reward of the runner's.
Verdict verdict_of(const nlohmann::json& reward) {
  if (reward.is_null()) return failed(FailureReason::kAbstained, "None");
  if (reward.is_number()) {
    const auto number = reward.get<double>();
    if (is_finite_fp32(number)) return {.reward = number};
    return failed(FailureReason::kNotFinite, base::concat("infinite in fp32: ", number));
  }
  if (reward.contains("failed")) {
    const auto reason = failure_reason_named(reward.at("failed").get<std::string>());
    return failed(reason.value_or(FailureReason::kMalformed), reward.at("what").get<std::string>());
  }
  Verdict verdict = verdict_of(reward.at("reward"));
  for (const auto& [name, part] : reward.at("parts").items()) {
    verdict.parts[name] = part.get<double>();
  }
  return verdict;
}

/// Whether this is the runner's answer to the line with this id.
LineCheck check_of(const nlohmann::json& answer, const std::string& id, const char* key) {
  if (!answer.is_object() || !(answer.contains(key) || answer.contains("problem"))) {
    return {.problem = base::concat("not {\"id\": ..., \"", key, "\": ...}")};
  }
  if (answer.value("id", nlohmann::json()) != id) {
    return {.problem = "the id of another question"};
  }
  return {.names_question = true};
}

}  // namespace

std::string id_of(const Response& response) {
  return base::concat(response.sample.value, "/", response.member);
}

std::string command_question(const Response& response) {
  std::string text = base::json_line(Json{{"id", id_of(response)},
                                          {"prompt", response.prompt},
                                          {"response", response.text},
                                          {"answer", response.answer}});
  if (!response.fields.empty()) append(text, "fields", response.fields);
  return text;
}

std::string function_record(const Response& response) {
  std::string text = base::json_line(
      Json{{"id", id_of(response)},
           {"prompt", response.record_prompt.empty() ? response.prompt : response.record_prompt},
           {"rendered_prompt", response.prompt},
           {"response", response.text},
           {"answer", response.answer},
           {"finish", response.ended ? "eos" : "length"}});
  append(text, "fields", response.fields.empty() ? "{}" : response.fields);
  append(text, "dataset", response.dataset);
  append(text, "record", response.record);
  return text;
}

std::string with_tokens(std::string record, std::span<const int32_t> tokens) {
  append(record, "tokens", base::json_line(Json(tokens)));
  return record;
}

std::string import_question(const std::string& id) { return base::json_line(Json{{"id", id}}); }

std::string batch_question(const std::string& id, std::span<const std::string> records) {
  std::string line = import_question(id);
  append(line, "records", base::concat('[', base::join(records, ","), ']'));
  return line;
}

RewardLine read_reward_line(const std::string& line, const std::string& id) {
  const auto [answer, problem] = base::parse_json(line);
  if (problem.find("number overflow") != std::string::npos ||
      (!problem.empty() &&
       (line.find("NaN") != std::string::npos || line.find("Infinity") != std::string::npos))) {
    if (auto read = read_no_number(line, id)) return *read;
  }
  if (!answer.is_object() || !answer.contains("reward")) {
    return {.check = {.problem = "not {\"reward\": number}"}};
  }
  if (answer.contains("id") && answer["id"] != id) {
    return {.check = {.problem = "the id of another question"}};
  }
  RewardLine result{.check = {.names_question = answer.contains("id")}};
  const nlohmann::json& reward = answer["reward"];
  if (reward.is_null()) {
    result.verdict = failed(FailureReason::kAbstained, "null");
  } else if (!reward.is_number()) {
    result.verdict = failed(FailureReason::kMalformed, base::concat("the reward is no number: ",
                                                                    line.substr(0, kShownOfLine)));
  } else if (!is_finite_fp32(reward.get<double>())) {
    return not_finite(line, result.check.names_question);
  } else {
    result.verdict.reward = reward.get<double>();
  }
  return result;
}

BatchLine read_batch_line(const std::string& line, const std::string& id, size_t n_records) {
  const auto [answer, problem] = base::parse_json(line);
  BatchLine result{.check = check_of(answer, id, "rewards")};
  if (result.check.problem) return result;
  try {
    if (answer.contains("problem")) {
      result.problem = answer.at("problem").get<std::string>();
      return result;
    }
    for (const nlohmann::json& reward : answer.at("rewards")) {
      result.verdicts.push_back(verdict_of(reward));
    }
  } catch (const nlohmann::json::exception& error) {
    result.check.problem = base::concat("no list of rewards: ", error.what());
    return result;
  }
  if (result.verdicts.size() != n_records) {
    result.check.problem = base::concat(result.verdicts.size(), " rewards for ", n_records);
  }
  return result;
}

FunctionLine read_function_line(const std::string& line, const std::string& id) {
  const auto [answer, problem] = base::parse_json(line);
  FunctionLine result{.check = check_of(answer, id, "tokens")};
  if (result.check.problem) return result;
  if (answer.contains("problem")) {
    result.problem = answer["problem"].is_string() ? answer["problem"].get<std::string>() : line;
  } else {
    result.wants_tokens = answer["tokens"] == true;
  }
  return result;
}

}  // namespace orrery::algorithm
