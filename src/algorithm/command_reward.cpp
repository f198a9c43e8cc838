#include "orrery/algorithm/command_reward.h"

#include <cmath>
#include <nlohmann/json.hpp>  // questions and answers

#include "orrery/algorithm/rewards.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

std::string id_of(const Response& response) {
  return base::concat(response.sample.value, "/", response.member);
}

std::string question_about(const Response& response) {
  const nlohmann::ordered_json line = {{"id", id_of(response)},
                                       {"prompt", response.prompt},
                                       {"response", response.text},
                                       {"answer", response.answer}};
  // A response may be cut inside a character.
  std::string text = line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  if (response.fields.empty()) return text;
  // As they stood in the record: not read, so that no number is written in another way.
  text.pop_back();
  return text + ",\"fields\":" + response.fields + "}";
}

/// The reward, or why there is none.
struct Answer {
  double reward = 0;
  std::optional<std::string> problem;
};

Answer read_answer(const std::string& line, const std::string& id) {
  const nlohmann::json answer = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object() || !answer.contains("reward") || !answer["reward"].is_number()) {
    return {.problem = "not {\"reward\": number}"};
  }
  if (answer.contains("id") && answer["id"] != id) return {.problem = "the id of another question"};
  const auto reward = answer["reward"].get<double>();
  if (!std::isfinite(reward)) return {.problem = "a reward that is not finite"};
  return {.reward = reward, .problem = {}};
}

}  // namespace

std::vector<OptionProblem> CommandRewardOptions::problems(const config::CallConfig&) const {
  if (const auto text = command_problem(command)) return {{"command", *text}};
  return {};
}

data::SequenceBatch CommandReward::inference(ModelContext& model, const data::SequenceBatch& input,
                                             const CallContext& call) {
  const std::vector<Response> responses = responses_of(input, *model.tokenizer);
  std::vector<float> rewards(responses.size());
  if (!model.is_dp_head) return reward_batch(input, rewards);

  if (pool_ == nullptr) {
    pool_ = std::make_unique<CommandPool>(
        Spawner::running(),
        CommandPoolOptions{.command = options_.command,
                           .timeout = std::chrono::duration<double>(options_.timeout_seconds),
                           .restarts = options_.restarts,
                           .concurrency = options_.concurrency});
  }
  std::vector<std::string> questions;
  for (const Response& response : responses) questions.push_back(question_about(response));
  const std::vector<std::string> answers =
      pool_->ask(questions, [&](size_t i, const std::string& line) {
        return read_answer(line, id_of(responses[i])).problem;
      });
  for (size_t i = 0; i < answers.size(); ++i) {
    rewards[i] = static_cast<float>(read_answer(answers[i], id_of(responses[i])).reward);
  }
  statistics_.merge(reward_statistics(rewards));
  statistics_.sum("command_restarts", static_cast<double>(pool_->take_restarts()));
  if (options_.dump_samples && !call.samples.empty()) {
    dump_responses(call.samples, call.step, call.data_rank, responses, rewards);
  }
  return reward_batch(input, rewards);
}

}  // namespace orrery::algorithm
