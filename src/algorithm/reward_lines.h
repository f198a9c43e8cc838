// The lines that go to and come from what judges answers: docs/rewards.md. Pure; any thread.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "orrery/algorithm/answer_judge.h"  // Verdict
#include "orrery/algorithm/command_pool.h"  // LineCheck
#include "orrery/algorithm/responses.h"

namespace orrery::algorithm {

/// `12/0`: sample and member.
std::string id_of(const Response& response);

/// The line that asks a program about one answer.
std::string command_question(const Response& response);

/// What a Python function is given of one answer: a JSON object, without "tokens".
std::string function_record(const Response& response);
/// `record` with "tokens".
std::string with_tokens(std::string record, std::span<const int32_t> tokens);
/// The line that asks the runner whether it could import the function, and what that wants.
std::string import_question(const std::string& id);
/// The line that asks the runner about several.
std::string batch_question(const std::string& id, std::span<const std::string> records);

/// What a line says about the answer that was asked for.
struct RewardLine {
  Verdict verdict = {};
  LineCheck check = {};  // whether it says anything about it
};
/// Of a program.
RewardLine read_reward_line(const std::string& line, const std::string& id);

/// Of the runner.
struct BatchLine {
  std::vector<Verdict> verdicts = {};
  std::string problem = {};  // there is no such function, and why
  LineCheck check = {};
};
BatchLine read_batch_line(const std::string& line, const std::string& id, size_t n_records);

/// Of the runner, to import_question().
struct FunctionLine {
  bool wants_tokens = false;
  std::string problem = {};  // there is no such function, and why
  LineCheck check = {};
};
FunctionLine read_function_line(const std::string& line, const std::string& id);

}  // namespace orrery::algorithm
