#include "learning_watch.h"

#include <optional>

#include "orrery/base/error.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace {

using Json = nlohmann::json;

/// The numbers of one call without its name.
class Numbers {
 public:
  Numbers(const std::string& call, const std::map<std::string, double>& all)
      : prefix_(call + "/"), all_(all) {}

  std::optional<double> operator[](const char* name) const {
    const auto found = all_.find(prefix_ + name);
    return found == all_.end() ? std::nullopt : std::optional<double>(found->second);
  }
  double or_zero(const char* name) const { return (*this)[name].value_or(0); }

 private:
  std::string prefix_;
  const std::map<std::string, double>& all_;
};

struct Sign {
  const char* text;
  bool (*is_there)(const Numbers& numbers);
};

/// A call shows a sign or not; one that has not its numbers does not.
constexpr Sign kSigns[] = {
    {"all answers of each prompt have had one reward: there is nothing to compare; look at the "
     "rewards and at how hard the prompts are",
     [](const Numbers& n) { return n["uniform_group_ratio"] == 1.0; }},
    {"every answer has had the same reward: look at what gives the rewards",
     [](const Numbers& n) {
       return n["reward_min"] && n["reward_min"] == n["reward_max"] && !n["task_reward"];
     }},
    {"every answer was cut off by its length: raise max_new_tokens, or look at whether the model "
     "knows the end token",
     [](const Numbers& n) { return n["no_eos_ratio"] == 1.0 && n["response_length"]; }},
    {"the gradient has been 0: nothing is learned",
     [](const Numbers& n) { return n["grad_norm"] == 0.0; }},
    {"no update was made: every one was skipped or stopped early",
     [](const Numbers& n) {
       return !n["grad_norm"] && n.or_zero("skipped_steps") + n.or_zero("early_stopped_steps") > 0;
     }},
};

}  // namespace

std::vector<std::string> LearningWatch::on_call(const std::string& call,
                                                const std::map<std::string, double>& numbers) {
  const Numbers own(call, numbers);
  if (own["skipped_steps"]) {
    Updates& updates = updates_[call];
    updates.not_finite += own.or_zero("nonfinite_steps");
    if (own["grad_norm"] || own["skipped_steps"] > own["nonfinite_steps"].value_or(0)) {
      ++updates.done;
    }
  }
  std::vector<std::string> warnings;
  for (const Sign& sign : kSigns) {
    int64_t& steps = lasting_[base::concat(call, " ", sign.text)];
    steps = sign.is_there(own) ? steps + 1 : 0;
    if (steps > 0 && steps % kLasting == 0) {
      warnings.push_back(base::concat("call.", call, ": for ", steps, " steps ", sign.text));
    }
  }
  return warnings;
}

std::string LearningWatch::reason_of_no_update() const {
  for (const auto& [call, updates] : updates_) {
    if (updates.done > 0 || updates.not_finite == 0) continue;
    return base::concat("call.", call, ": all ", static_cast<int64_t>(updates.not_finite),
                        " updates were skipped, a loss or gradient was not finite");
  }
  return "";
}

std::string LearningWatch::state_text() const {
  Json updates = Json::object();
  for (const auto& [call, of] : updates_) updates[call] = {of.done, of.not_finite};
  return Json{{"lasting", lasting_}, {"updates", updates}}.dump();
}

void LearningWatch::restore(const std::string& text) {
  const auto [json, problem] = base::parse_json(text);
  if (!problem.empty()) {
    throw CheckpointError(base::concat("the counts of the learning watch: ", problem));
  }
  try {
    lasting_ = json.at("lasting").get<std::map<std::string, int64_t>>();
    updates_.clear();
    for (const auto& [call, of] : json.at("updates").items()) {
      updates_[call] = {.done = of.at(0).get<double>(), .not_finite = of.at(1).get<double>()};
    }
  } catch (const Json::exception& error) {
    throw CheckpointError(base::concat("the counts of the learning watch: ", error.what()));
  }
}

}  // namespace orrery::cli
