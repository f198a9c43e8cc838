#include "short_answers.h"

#include <vector>

#include "orrery/algorithm/responses.h"
#include "orrery/algorithm/rewards.h"

orrery::data::SequenceBatch ShortAnswers::inference(orrery::algorithm::ModelContext& model,
                                                    const orrery::data::SequenceBatch& input,
                                                    const orrery::algorithm::CallContext&) {
  std::vector<float> rewards;
  for (const orrery::algorithm::Response& response :
       orrery::algorithm::responses_of(input, *model.tokenizer)) {
    const auto length = static_cast<float>(response.n_tokens);
    rewards.push_back(1 - length / static_cast<float>(options_.longest));
  }
  statistics_.merge(orrery::algorithm::reward_statistics(rewards));
  return orrery::algorithm::reward_batch(input, rewards);
}
