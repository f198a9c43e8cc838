#include "orrery/algorithm/methods.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "orrery/algorithm/registry.h"
#include "orrery/base/text.h"
#include "orrery/config/options.h"

namespace orrery::algorithm {

namespace {

const std::vector<Method>& table() {
  static const std::vector<Method> kMethods = {
      {"grpo", "arXiv 2402.03300", {{"estimator", "grpo"}, {"aggregation", "seq_mean_token_mean"}}},
      {"dr_grpo", "arXiv 2503.20783", {{"estimator", "dr_grpo"}, {"aggregation", "constant"}}},
      {"dapo",
       "arXiv 2503.14476",
       {{"estimator", "grpo"},
        {"clip_range", "0.2"},
        {"clip_range_high", "0.28"},
        {"aggregation", "token_mean"},
        {"skip_uniform_groups", "true"}}},
      {"gspo",
       "arXiv 2507.18071",
       {{"estimator", "grpo"},
        {"ratio_level", "sequence"},
        {"clip_range", "0.0003"},
        {"clip_range_high", "0.0004"},
        {"aggregation", "seq_mean_token_mean"}}},
      {"gspo_token",
       "arXiv 2507.18071",
       {{"estimator", "grpo"},
        {"ratio_level", "sequence_token"},
        {"clip_range", "0.0003"},
        {"clip_range_high", "0.0004"},
        {"aggregation", "seq_mean_token_mean"}}},
      {"cispo",
       "arXiv 2506.13585; range 2510.13786",
       {{"estimator", "grpo"},
        {"surrogate", "cispo"},
        {"clip_range_high", "4"},
        {"aggregation", "token_mean"}}},
      {"sapo",
       "arXiv 2511.20347",
       {{"estimator", "grpo"}, {"surrogate", "sapo"}, {"aggregation", "seq_mean_token_mean"}}},
      {"gmpo",
       "arXiv 2507.20673",
       {{"estimator", "grpo"}, {"surrogate", "gmpo"}, {"aggregation", "seq_mean_token_mean"}}},
      {"dppo",
       "arXiv 2602.04879",
       {{"estimator", "grpo"}, {"surrogate", "dppo_tv"}, {"aggregation", "token_mean"}}},
      {"rloo",
       "arXiv 2402.14740",
       {{"estimator", "rloo"}, {"surrogate", "reinforce"}, {"aggregation", "seq_mean_token_sum"}}},
      {"reinforce_plus_plus",
       "arXiv 2501.03262",
       {{"estimator", "reinforce_plus_plus"},
        {"group_adv_norm", "false"},
        {"group_std_kind", "population"},
        {"group_eps", "1e-8"},
        {"group_eps_mode", "variance_floor"},
        {"aggregation", "token_mean"}}},
      {"reinforce_plus_plus_baseline",
       "arXiv 2501.03262",
       {{"estimator", "reinforce_plus_plus_baseline"},
        {"group_std_kind", "population"},
        {"group_eps", "1e-8"},
        {"group_eps_mode", "variance_floor"},
        {"aggregation", "token_mean"}}},
      {"gdpo",
       "arXiv 2601.05242",
       {{"estimator", "gdpo"},
        {"group_std_kind", "sample"},
        {"group_eps", "0.0001"},
        {"aggregation", "token_mean"}}},
      {"opo", "arXiv 2505.23585", {{"estimator", "opo"}, {"aggregation", "token_mean"}}},
      {"maxrl", "arXiv 2602.02710", {{"estimator", "maxrl"}, {"aggregation", "token_mean"}}},
      {"pass_at_k",
       "arXiv 2508.10751",
       {{"estimator", "pass_at_k"}, {"pass_k", "2"}, {"aggregation", "token_mean"}}},
      {"leave_one_out_max",
       "arXiv 2503.19595",
       {{"estimator", "leave_one_out_max"}, {"aggregation", "token_mean"}}},
      {"high_entropy",
       "arXiv 2506.01939",
       {{"estimator", "grpo"},
        {"clip_range", "0.2"},
        {"clip_range_high", "0.28"},
        {"aggregation", "token_mean"},
        {"top_entropy_fraction", "0.2"}},
       {"entropies"}},
      {"a3po",
       "arXiv 2512.06547",
       {{"estimator", "grpo"}, {"interpolate_proximal", "true"}, {"aggregation", "token_mean"}},
       {"versions"}},
  };
  return kMethods;
}

const config::FieldInfo* field_of(const config::InterfaceSchemas& schemas,
                                  const config::CallConfig& call, std::string_view option) {
  const auto schema = schemas.find(call.interface);
  if (schema == schemas.end()) return nullptr;
  for (const config::FieldInfo& field : schema->second) {
    if (field.name == option) return &field;
  }
  return nullptr;
}

/// The call that writes the answers that `call` learns from; null: none does.
config::CallConfig* generating_call(config::Experiment& experiment,
                                    const config::CallConfig& call) {
  const config::KeyBinding* answers = config::find_binding(call.inputs, "packed_input_ids");
  if (answers == nullptr) return nullptr;
  for (auto& [name, other] : experiment.calls) {
    if (!other.enabled || other.kind != "generate") continue;
    const config::KeyBinding* generated = config::find_binding(other.outputs, "packed_input_ids");
    if (generated != nullptr && generated->graph_key == answers->graph_key) return &other;
  }
  return nullptr;
}

/// Its max_new_tokens.
std::optional<std::string> longest_answer(config::Experiment& experiment,
                                          const config::CallConfig& call) {
  const config::CallConfig* const generates = generating_call(experiment, call);
  if (generates == nullptr) return std::nullopt;
  const std::optional<int64_t> longest = option_facts(*generates).max_new_tokens;
  return longest ? std::optional(config::value_text(*longest)) : std::nullopt;
}

class Expansion {
 public:
  Expansion(config::Experiment& experiment, std::vector<config::Problem>& warnings)
      : experiment_(experiment), schemas_(interface_schemas()), warnings_(warnings) {}

  void expand(const std::string& name, config::CallConfig& call) {
    const config::Option* named = config::find_option(call, "method");
    if (!call.enabled || named == nullptr || field_of(schemas_, call, "method") == nullptr) return;
    const auto method = std::find_if(table().begin(), table().end(),
                                     [&](const Method& each) { return each.name == named->value; });
    if (method == table().end()) return;  // none
    const config::Position where = named->where;
    for (const MethodOption& option : method->options) {
      set(name, call, *method, option.name, option.value, where);
    }
    for (const char* key : method->keys) bind(call, key);
    if (config::option_or<std::string>(call, "aggregation", "") != "constant") return;
    if (config::find_option(call, "constant_length") != nullptr) return;
    const std::optional<std::string> longest = longest_answer(experiment_, call);
    if (longest) set(name, call, *method, "constant_length", *longest, where);
  }

 private:
  /// Where no call generates what `call` learns from, the checks of its options say what is
  /// missing.
  void bind(config::CallConfig& call, const char* key) {
    if (config::find_binding(call.inputs, key) != nullptr) return;
    config::CallConfig* const other = generating_call(experiment_, call);
    if (other == nullptr) return;
    if (config::find_binding(other->outputs, key) == nullptr) other->outputs.push_back({key, key});
    call.inputs.push_back({key, config::find_binding(other->outputs, key)->graph_key});
  }

  void set(const std::string& name, config::CallConfig& call, const Method& method,
           const char* option, const std::string& value, const config::Position& where) {
    const config::FieldInfo* field = field_of(schemas_, call, option);
    if (field == nullptr) return;
    const config::Option* written = config::find_option(call, option);
    if (written == nullptr) {
      call.options.push_back({option, value, where});
      return;
    }
    if (field->canonical(written->value) == field->canonical(value)) return;
    const std::string key = base::concat("call.", name, ".", option);
    warnings_.push_back({written->where.file, written->where.line,
                         base::concat(key, ": ", written->value,
                                      " holds, although method = ", method.name, " means ", value),
                         key});
  }

  config::Experiment& experiment_;
  config::InterfaceSchemas schemas_;
  std::vector<config::Problem>& warnings_;
};

}  // namespace

std::span<const Method> methods() { return table(); }

void expand_methods(config::Experiment& experiment, std::vector<config::Problem>& warnings) {
  Expansion expansion(experiment, warnings);
  for (auto& [name, call] : experiment.calls) expansion.expand(name, call);
}

}  // namespace orrery::algorithm
