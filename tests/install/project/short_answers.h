// Interface `short_answers`: the shorter an answer, the better.
#pragma once

#include "orrery/algorithm/interface.h"
#include "orrery/config/field.h"

struct ShortAnswersOptions {
  int64_t longest = 8;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    field(&ShortAnswersOptions::longest, "longest",
          "answers of so many tokens get 0, shorter ones more, up to 1",
          orrery::config::at_least(1));
  }
};

class ShortAnswers final : public orrery::algorithm::Interface {
 public:
  explicit ShortAnswers(ShortAnswersOptions options) : options_(options) {}

  /// In: packed_input_ids, prompt_mask. Out: rewards [N] fp32.
  orrery::data::SequenceBatch inference(orrery::algorithm::ModelContext& model,
                                        const orrery::data::SequenceBatch& input,
                                        const orrery::algorithm::CallContext& call) override;

 private:
  ShortAnswersOptions options_;
};
