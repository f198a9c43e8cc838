#include "resume_rules.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <set>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/config/load.h"  // schema_of_section
#include "orrery/config/renamed_keys.h"

namespace orrery::cli {

namespace {

/// `section.key` -> value, of the text that config::resolved_config() makes.
using Values = std::map<std::string, std::string>;

Values values_of(const std::string& resolved) {
  Values values;
  std::string section;
  for (size_t begin = 0; begin < resolved.size();) {
    const size_t end = std::min(resolved.find('\n', begin), resolved.size());
    const std::string line = resolved.substr(begin, end - begin);
    begin = end + 1;
    if (line.empty() || line[0] == '#') continue;
    if (line[0] == '[') {
      section = line.substr(1, line.find(']') - 1);
      continue;
    }
    const size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    const auto trimmed = [](std::string text) {
      text.erase(0, text.find_first_not_of(' '));
      text.erase(text.find_last_not_of(' ') + 1);
      return text;
    };
    std::string key = trimmed(line.substr(0, equals)), value = trimmed(line.substr(equals + 1));
    config::use_todays_name(section, key, value);  // a checkpoint of the version before
    values[base::concat(section, ".", key)] = value;
  }
  return values;
}

std::string value_in(const Values& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? std::string() : found->second;
}

/// The keys of a section, by what changing them means. A key that none of the lists names is
/// kAccepted.
struct SectionRules {
  std::string_view section;
  std::initializer_list<std::string_view> free = {};
  std::initializer_list<std::string_view> noted = {};
  std::initializer_list<std::string_view> never = {};
};

const SectionRules kRules[] = {
    {.section = "experiment",
     .free = {"name", "output_dir", "total_seconds", "threads_per_rank", "deadline_seconds",
              "redistribution", "prompts_per_step"},  // n_seqs of the calls is what counts
     .noted = {"total_steps", "total_epochs", "amx"},
     .never = {"seed"}},
    // The fingerprint of its rows says whether it is the same data in the same order.
    // The bounds of records mend a run that met one that it cannot take: rows that they leave out
    // are left out from then on.
    {.section = "dataset",
     .free = {"path", "use"},
     .noted = {"max_prompt_tokens", "max_tokens", "on_bad_record"},
     .never = {"kind", "weight"}},
    // What was drawn and what was carried over belongs to these.
    {.section = "dynamic_sampling", .never = {"enabled", "rewards", "groups_per_round"}},
    {.section = "model",
     .free = {},
     .noted = {"lr", "lr_schedule", "min_lr_ratio", "warmup_steps", "warmup_proportion",
               "weight_decay", "beta1", "beta2", "adam_eps", "max_grad_norm", "on_nonfinite",
               "max_skipped_updates"},
     .never = {"architecture", "head", "tokenizer", "dtype", "vocab_size", "hidden_size",
               "intermediate_size", "n_layers", "n_heads", "n_kv_heads", "head_dim",
               "max_positions", "rope_theta", "norm_eps", "tie_embeddings"}},
    {.section = "call",
     .free = {"layout", "max_tokens_per_micro_batch", "n_micro_batches", "log_return_value",
              "concurrency", "python", "batch_size", "max_memory_gib", "max_failed_share",
              "max_failed_share_20_steps", "while_generating"},
     // What one does about a verifier that is too slow: it decides about answers to come.
     .noted = {"timeout_seconds", "restarts"},
     .never = {"model", "kind", "interface", "inputs", "outputs", "n_seqs", "enabled",
               "post_realloc"}},
};

/// The inputs of a call but for the one that graphs of the version before did not have: what it
/// changes is what a reward function is told.
std::string without_prompt_texts(std::string_view key, std::string value) {
  constexpr std::string_view kNew = ", prompt_texts";
  if (!key.starts_with("call.") || !key.ends_with(".inputs")) return value;
  if (const size_t at = value.find(kNew); at != std::string::npos) value.erase(at, kNew.size());
  return value;
}

bool is_any_of(std::string_view text, std::initializer_list<std::string_view> of) {
  return std::find(of.begin(), of.end(), text) != of.end();
}

/// The default of `name` among the fields of a struct, as text.
std::string default_in(const config::Schema& schema, std::string_view name) {
  for (const config::FieldInfo& field : schema) {
    if (field.name == name) return field.default_text;
  }
  return {};
}

/// What a key has where a configuration of another version does not name it; empty: it has none.
std::string default_of(const std::string& key, const Values& values,
                       const config::InterfaceSchemas& interfaces) {
  const std::string section = key.substr(0, key.find('.'));
  const std::string name = key.substr(key.rfind('.') + 1);
  // A section that is not there has no keys.
  const std::string in_section = key.substr(0, key.rfind('.') + 1);
  const auto after = values.lower_bound(in_section);
  if (after == values.end() || !after->first.starts_with(in_section)) return {};
  if (section == "dataset" && name == "add_bos") return "false";  // nothing was added
  const std::string section_name = in_section.substr(0, in_section.size() - 1);
  std::string text = default_in(config::schema_of_section(section_name), name);
  if (section != "call" || !text.empty()) return text;
  const auto interface = interfaces.find(value_in(values, in_section + "interface"));
  return interface == interfaces.end() ? std::string() : default_in(interface->second, name);
}

}  // namespace

std::vector<std::string> datasets_with_other_bounds(const std::string& before,
                                                    const std::string& now) {
  const Values old_values = values_of(before);
  std::set<std::string> names;
  for (const auto& [key, value] : values_of(now)) {
    const auto old = old_values.find(key);
    if (!key.starts_with("dataset.") || old == old_values.end() || old->second == value) continue;
    const size_t begin = key.find('.') + 1;
    if (meaning_of_change(key) == KeyChange::kNoted) {  // of a data set: the bounds of records
      names.insert(key.substr(begin, key.rfind('.') - begin));
    }
  }
  return {names.begin(), names.end()};
}

KeyChange meaning_of_change(std::string_view key) {
  const std::string_view section = key.substr(0, key.find('.'));
  const std::string_view name = key.substr(key.rfind('.') + 1);
  if (is_any_of(section, {"layout", "checkpoint", "evaluate", "export"})) return KeyChange::kFree;
  for (const SectionRules& rules : kRules) {
    if (rules.section != section) continue;
    if (is_any_of(name, rules.free)) return KeyChange::kFree;
    if (is_any_of(name, rules.noted)) return KeyChange::kNoted;
    return is_any_of(name, rules.never) ? KeyChange::kNever : KeyChange::kAccepted;
  }
  return KeyChange::kNever;
}

ConfigChanges compare_configs(const std::string& before, const std::string& now,
                              const config::InterfaceSchemas& interfaces,
                              std::span<const std::string> accept) {
  const Values old_values = values_of(before);
  const Values new_values = values_of(now);
  std::set<std::string> keys;
  for (const auto& [key, value] : old_values) keys.insert(key);
  for (const auto& [key, value] : new_values) keys.insert(key);
  std::set<std::string> unused(accept.begin(), accept.end());
  ConfigChanges changes;
  for (const std::string& key : keys) {
    const std::string was =
        old_values.contains(key) ? old_values.at(key) : default_of(key, old_values, interfaces);
    const std::string is =
        new_values.contains(key) ? new_values.at(key) : default_of(key, new_values, interfaces);
    if (without_prompt_texts(key, was) == without_prompt_texts(key, is)) continue;
    const std::string text = base::concat(key, ": was ", was.empty() ? "not set" : was, ", is ",
                                          is.empty() ? "not set" : is);
    const bool is_named = unused.erase(key) > 0;
    switch (meaning_of_change(key)) {
      case KeyChange::kFree:
        break;
      case KeyChange::kNoted:
        changes.noted.push_back(text);
        break;
      case KeyChange::kAccepted:
        (is_named ? changes.accepted : changes.refused).push_back(text);
        break;
      case KeyChange::kNever:
        changes.never.push_back(text);
        if (!is_named) break;
        throw ConfigError(base::concat("--accept ", key, ": this key can never be accepted"),
                          {.expected = "a key that changes how training goes on",
                           .got = text,
                           .advice = "set it back, or give the other experiment another "
                                     "experiment.name"});
    }
  }
  // The same command goes on: what was accepted before is no difference by then.
  for (const std::string& key : unused) {
    if (new_values.contains(key)) continue;
    throw ConfigError(
        base::concat("--accept ", key, ": this experiment has no such key"),
        {.expected = "a key as config.cfg has it, such as call.actor_train.clip_range",
         .got = key,
         .advice = "look into config.cfg of the run directory"});
  }
  return changes;
}

}  // namespace orrery::cli
