#include "orrery/algorithm/evaluation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>  // NoGradGuard

#include <algorithm>
#include <cmath>
#include <span>
#include <system_error>
#include <utility>

#include "orrery/algorithm/advantages.h"  // action_mask
#include "orrery/algorithm/generation.h"
#include "orrery/algorithm/responses.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/hash.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"

namespace orrery::algorithm {

namespace {

namespace fs = std::filesystem;

/// What rewards and dumps look at beside the sequences themselves.
constexpr const char* kTexts[] = {"answers", "fields", "prompt_texts"};

/// Sets draw apart from each other and from training, which draws by the seed alone.
uint64_t seed_of(const EvaluationInput& input, const CallContext& call) {
  return call.seed ^ base::hash64(base::concat("evaluation set ", input.set));
}

/// The answers to the prompts with all that the records say; of no prompt an empty batch.
GeneratedBatch answers_to(ModelContext& model, const EvaluationInput& input,
                          const CallContext& call) {
  GeneratedBatch generated;
  if (input.batch.size() > 0) {
    model::GenerationOptions options = input.sampling;
    options.stop_ids = stop_ids(*model.tokenizer);
    generated = generate_batch(model, input.batch, options, seed_of(input, call), 0);
  } else {
    generated.batch.set("packed_input_ids", at::empty({0}, at::kLong), {});
    generated.batch.set("prompt_mask", at::empty({0}, at::kBool), {});
  }
  for (const char* key : kTexts) {
    if (!input.batch.meta.contains(key)) continue;
    generated.batch.set(key, input.batch.at(key), input.batch.meta.at(key).lengths);
  }
  generated.batch.meta.extra = input.batch.meta.extra;
  return generated;
}

/// The reward that each of the answers gets from one reward. Collective over model.data_group.
std::vector<float> rewards_from(const EvaluationReward& reward, ModelContext& model,
                                const EvaluationInput& input, const data::SequenceBatch& answers,
                                CallContext call) {
  call.call = base::concat("evaluation-", input.set, input.set.empty() ? "" : "-", reward.name);
  call.calls_per_step = 1;
  call.samples.clear();  // the evaluation has a dump of its own
  const data::SequenceBatch output = reward.interface->inference(model, answers, call);
  reward.interface->take_statistics();  // they are of training's answers
  const at::Tensor values = output.at("rewards").to(at::kFloat).contiguous();
  const float* const first = values.const_data_ptr<float>();
  return {first, first + values.numel()};
}

/// What the answers to one prompt vote for. Right ones are one answer, whatever their form, and
/// wrong ones are the same where the rule says so: no vote is both right and wrong.
void add_votes(MatchRule rule, std::span<const Response> responses,
               std::vector<metrics::EvaluatedAnswer>& answers) {
  std::optional<std::string> right;
  std::vector<std::string> wrong;
  for (size_t i = 0; i < answers.size(); ++i) {
    const std::optional<std::string> given = given_answer(rule, responses[i].text);
    if (!given) continue;
    metrics::EvaluatedAnswer& answer = answers[i];
    answer.has_vote = true;
    if (answer.is_right) {
      if (!right) right = given;
      answer.vote = *right;
      continue;
    }
    const auto same = std::find_if(wrong.begin(), wrong.end(), [&](const std::string& other) {
      return are_same_answers(rule, other, *given);
    });
    answer.vote = same == wrong.end() ? wrong.emplace_back(*given) : *same;
  }
}

/// The values of the fields `by` of a record, `none` where it lacks one.
std::vector<std::pair<std::string, std::string>> values_of(const std::vector<std::string>& by,
                                                           const std::string& fields) {
  std::vector<std::pair<std::string, std::string>> values;
  if (by.empty()) return values;
  const nlohmann::json object = base::parse_json(fields).value;
  for (const std::string& field : by) values.emplace_back(field, base::field_text(object, field));
  return values;
}

/// One line for each answer, as of samples/, with what was made of it.
void dump(const EvaluationInput& input, const std::vector<Response>& responses,
          const std::vector<metrics::EvaluatedRecord>& records) {
  std::string lines;
  size_t i = 0;
  for (const metrics::EvaluatedRecord& record : records) {
    for (const metrics::EvaluatedAnswer& answer : record.answers) {
      const Response& response = responses[i++];
      nlohmann::ordered_json line = {{"row", record.row},
                                     {"member", response.member},
                                     {"prompt", response.prompt},
                                     {"response", response.text},
                                     {"answer", response.answer},
                                     {"right", answer.is_right},
                                     {"finish", answer.is_cut ? "length" : "eos"}};
      if (answer.has_vote) line["vote"] = answer.vote;
      if (!input.rewards.empty()) {
        line["reward"] = nullptr;
        if (answer.is_rewarded) line["reward"] = answer.reward;
        line["parts"] = answer.parts;
      }
      for (const auto& [field, value] : record.by) line["by"][field] = value;
      line["record"] = base::parse_json<nlohmann::ordered_json>(response.record).value;
      // A response may be cut inside a character.
      lines += base::json_line(line) + "\n";
    }
  }
  std::error_code error;
  fs::create_directories(input.dump.parent_path(), error);
  if (error) {
    throw OutputError(base::concat(input.dump.parent_path().string(), ": ", error.message()));
  }
  base::publish_file(input.dump, lines);  // an evaluation that is done again replaces its own
}

Evaluation of_answers(ModelContext& model, const EvaluationInput& input, MatchRule rule,
                      const CallContext& call) {
  if (input.batch.size() == 0 && input.rewards.empty()) return {};
  const GeneratedBatch generated = answers_to(model, input, call);
  std::vector<std::vector<float>> rewards;
  for (const EvaluationReward& reward : input.rewards) {
    rewards.push_back(rewards_from(reward, model, input, generated.batch, call));
  }
  if (!model.is_dp_head || input.batch.size() == 0) return {};

  const std::vector<Response> responses = responses_of(generated.batch, *model.tokenizer);
  const auto group = static_cast<size_t>(input.sampling.group_size);
  const bool is_by_rule = input.match || input.rewards.empty();
  Evaluation evaluation;
  for (size_t first = 0; first < responses.size(); first += group) {
    metrics::EvaluatedRecord record{.row = static_cast<int64_t>(responses[first].sample.value),
                                    .by = values_of(input.by, responses[first].fields)};
    for (size_t i = first; i < first + group; ++i) {
      const Response& response = responses[i];
      metrics::EvaluatedAnswer answer{.n_tokens = response.n_tokens, .is_cut = !response.ended};
      answer.is_rewarded = !rewards.empty();
      for (size_t r = 0; r < rewards.size(); ++r) {
        const double value = rewards[r][i];
        if (!std::isfinite(value)) {
          answer.is_rewarded = false;
          continue;
        }
        answer.parts[input.rewards[r].name] = value;
        answer.reward += input.rewards[r].weight * value;
      }
      answer.is_right = is_by_rule
                            ? is_match(input.match.value_or(rule), response.text, response.answer)
                            : answer.is_rewarded && answer.reward > input.correct_above;
      record.answers.push_back(std::move(answer));
    }
    if (is_by_rule) {
      add_votes(input.match.value_or(rule), std::span(responses).subspan(first, group),
                record.answers);
    }
    evaluation.records.push_back(std::move(record));
  }
  evaluation.statistics.sum("prefilled_tokens", static_cast<double>(generated.prefilled_tokens));
  if (!input.dump.empty()) dump(input, responses, evaluation.records);
  return evaluation;
}

Evaluation of_completions(ModelContext& model, const EvaluationInput& input,
                          const CallContext& call) {
  if (input.batch.size() == 0) return {};
  const at::NoGradGuard no_grad;
  Evaluation evaluation;
  for (const data::SequenceBatch& part : parallel::micro_batches(input.batch, call.limits)) {
    const std::vector<int32_t>& lengths = part.meta.at("packed_input_ids").lengths.flat();
    const at::Tensor mask = action_mask(part.at("prompt_mask"), lengths).to(at::kDouble);
    const at::Tensor log_probs =
        model.decoder->log_probs(model::pack_tokens(part.at("packed_input_ids"), lengths))
            .to(at::kCPU, at::kDouble) *
        mask;
    int64_t begin = 0;
    for (size_t i = 0; i < part.size(); ++i) {  // each for itself: the sum has one order
      const int64_t n = lengths[i] - 1;
      evaluation.records.push_back(
          {.row = static_cast<int64_t>(part.meta.ids[i].value),
           .loss_sum = -log_probs.slice(0, begin, begin + n).sum().item<double>(),
           .loss_tokens = mask.slice(0, begin, begin + n).sum().item<double>()});
      begin += n;
    }
  }
  return evaluation;
}

}  // namespace

Evaluation evaluate_model(ModelContext& model, const EvaluationInput& input, MatchRule rule,
                          const CallContext& call) {
  return input.batch.meta.contains("packed_prompts") || input.batch.size() == 0
             ? of_answers(model, input, rule, call)
             : of_completions(model, input, call);
}

}  // namespace orrery::algorithm
