#include "learning_watch.h"

#include <optional>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/json.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace {

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
    const double not_finite = own.or_zero("nonfinite_steps");
    updates.not_finite += not_finite;
    updates.without_weight += own.or_zero("skipped_steps") - not_finite;
    updates.stopped_early += own.or_zero("early_stopped_steps");
    if (own["grad_norm"]) ++updates.done;
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

std::string LearningWatch::reason_of_no_update(bool is_whole_run) const {
  for (const auto& [call, updates] : updates_) {
    const double others = updates.without_weight + updates.stopped_early;
    if (updates.done > 0 || updates.not_finite + others == 0) continue;
    if (others == 0) {
      return base::concat("call.", call, ": all ", static_cast<int64_t>(updates.not_finite),
                          " updates were skipped, a loss or gradient was not finite");
    }
    if (!is_whole_run) continue;
    std::vector<std::string> reasons;
    for (const auto& [n, why] : {std::pair{updates.without_weight,
                                           "had no token with any weight: every answer was left "
                                           "out, cut off, or of a group of equal rewards"},
                                 {updates.not_finite, "had a loss or gradient that was not finite"},
                                 {updates.stopped_early, "stopped early"}}) {
      if (n > 0) reasons.push_back(base::concat(static_cast<int64_t>(n), " ", why));
    }
    return base::concat("call.", call, ": not one update was made in the whole run; ",
                        base::join(reasons, "; "));
  }
  return "";
}

std::string LearningWatch::lasting_text() const { return nlohmann::json(lasting_).dump(); }

void LearningWatch::set_lasting(const std::string& text) {
  try {
    lasting_ = base::parse_json(text).value.get<std::map<std::string, int64_t>>();
  } catch (const nlohmann::json::exception& error) {
    throw CheckpointError(
        base::concat("for how long signs have lasted cannot be read: ", error.what()));
  }
}

}  // namespace orrery::cli
