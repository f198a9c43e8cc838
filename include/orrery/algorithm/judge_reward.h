// Interface `judge_reward`: a language model as judge. Problem, answer and reference are put into a
// template, the call's role goes on from there, and a regular expression finds the number that it
// gives.
//
//   [call.reward]   model = judge          interface = judge_reward     kind = inference
//                   template = Problem: {prompt}\nReference: {answer}\nAnswer: {response}\nScore:
//                   verdict = ([0-9]+)
//
// The judge may have another tokenizer than those who generate and learn: it gets texts. It draws
// by keys of step, sample and member, so that a verdict depends on nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "orrery/algorithm/failed_answers.h"
#include "orrery/algorithm/interface.h"
#include "orrery/algorithm/option_problem.h"
#include "orrery/algorithm/responses.h"
#include "orrery/algorithm/text_pattern.h"
#include "orrery/config/experiment.h"  // CallConfig
#include "orrery/config/field.h"
#include "orrery/model/generator.h"

namespace orrery::algorithm {

struct JudgeRewardOptions {
  std::string text_template;
  std::string verdict;
  int64_t max_new_tokens = 32;
  double temperature = 0;
  int64_t max_batch = 256;
  std::string add_bos = "auto";
  double output_scaling = 1;
  double output_bias = 0;
  double max_failed_share = FailureCeilings().of_step;
  double max_failed_share_20_steps = FailureCeilings().of_20_steps;
  bool dump_samples = true;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    using C = JudgeRewardOptions;
    field(
        &C::text_template, "template",
        "what the judge goes on from; {prompt}, {response} and {answer} stand for the problem, the "
        "answer to be judged and the record's reference; names of special tokens give these "
        "tokens",
        config::escaped_text());
    field(&C::verdict, "verdict",
          "regular expression (PCRE2) whose first group is the judge's number, in its last match",
          text_pattern());
    field(&C::max_new_tokens, "max_new_tokens", "longest text of the judge, in tokens",
          config::at_least(1));
    field(&C::temperature, "temperature", "divides the judge's logits; 0: the most likely token",
          config::in_range(0, model::kHighestTemperature));
    field(&C::max_batch, "max_batch", "answers judged at a time", config::at_least(1));
    field(&C::add_bos, "add_bos",
          "whether the template gets the tokenizer's beginning-of-sequence token, unless it begins "
          "with it; auto: as the tokenizer's own template does",
          config::one_of({"auto", "true", "false"}));
    field(&C::output_scaling, "output_scaling", "the reward is (number - output_bias) * this",
          config::anything());
    field(&C::output_bias, "output_bias", "subtracted from the judge's number", config::anything());
    field(&C::max_failed_share, "max_failed_share",
          "share of a step's answers without a reward above which the job stops",
          config::in_range(0, 1).on_resume(config::Resume::kFree));
    field(&C::max_failed_share_20_steps, "max_failed_share_20_steps", "the same over 20 steps",
          config::in_range(0, 1).on_resume(config::Resume::kFree));
    field(&C::dump_samples, "dump_samples", "write prompts, answers and rewards to samples/",
          config::anything());
  }

  /// Whether the template has a place for the record's answer, which no record may lack then.
  bool shows_answer() const { return text_template.find("{answer}") != std::string::npos; }
  /// A template without a place for the answer or with one that no input fills; an expression
  /// without a group.
  std::vector<OptionProblem> problems(const config::CallConfig& call) const;
};

/// `text_template` with its places filled, once: what is put in is not looked at again.
std::string judge_prompt(const std::string& text_template, const Response& response);

class JudgeReward final : public Interface {
 public:
  explicit JudgeReward(JudgeRewardOptions options);

  /// In: packed_input_ids, prompt_mask and, if there are any, answers, fields and prompt_texts
  /// [bytes] uint8. Out: rewards [N] fp32; NaN where the judge gave no number: left out.
  /// Throws CallError when too many have none (head of data rank 0). Collective over the shards of
  /// the data rank and over `model.data_group`.
  data::SequenceBatch inference(ModelContext& model, const data::SequenceBatch& input,
                                const CallContext& call) override;

  /// The answers of the last steps without a reward, of all data ranks.
  std::string state() const override { return share_.state(); }
  void restore(const std::string& state) override { share_.restore(state); }

 private:
  struct Judged;

  /// What the judge says to each response; nothing to those that are too long for it.
  std::vector<Judged> judge(ModelContext& model, const std::vector<Response>& responses,
                            const CallContext& call) const;
  void report(const std::vector<Judged>& judged, const std::vector<Response>& responses,
              const CallContext& call, const ModelContext& model);
  /// Throws on the head of data rank 0 if the answers without a number are too many.
  void check_share(const std::vector<Judged>& judged, const std::vector<Response>& responses,
                   const CallContext& call, const ModelContext& model);

  JudgeRewardOptions options_;
  std::string template_;  // with its escapes resolved
  TextPattern verdict_;
  FailedShare share_;
};

}  // namespace orrery::algorithm
