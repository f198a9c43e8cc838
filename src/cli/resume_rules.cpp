#include "resume_rules.h"

#include <algorithm>
#include <map>
#include <set>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/config/load.h"  // schema_of_section
#include "orrery/config/renamed_keys.h"

namespace orrery::cli {

using config::Resume;

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
    std::string key(base::trim(std::string_view(line).substr(0, equals)));
    std::string value(base::trim(std::string_view(line).substr(equals + 1)));
    config::use_todays_name(section, key, value);  // a checkpoint of the version before
    values[base::concat(section, ".", key)] = value;
  }
  return values;
}

std::string value_in(const Values& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? std::string() : found->second;
}

/// The inputs of a call but for the one that graphs of the version before did not have: what it
/// changes is what a reward function is told.
std::string without_prompt_texts(std::string_view key, std::string value) {
  constexpr std::string_view kNew = ", prompt_texts";
  if (!key.starts_with("call.") || !key.ends_with(".inputs")) return value;
  if (const size_t at = value.find(kNew); at != std::string::npos) value.erase(at, kNew.size());
  return value;
}

const config::FieldInfo* find_field(const config::Schema& schema, std::string_view name) {
  const auto found =
      std::find_if(schema.begin(), schema.end(),
                   [&](const config::FieldInfo& field) { return field.name == name; });
  return found == schema.end() ? nullptr : &*found;
}

/// The default of `name` among the fields of a struct, as text.
std::string default_in(const config::Schema& schema, std::string_view name) {
  const config::FieldInfo* const field = find_field(schema, name);
  return field == nullptr ? std::string() : field->default_text;
}

/// A key with its dots: `call.actor_gen.top_k` is top_k of call.actor_gen.
std::string section_of(std::string_view key) { return std::string(key.substr(0, key.rfind('.'))); }
std::string name_in(std::string_view key) { return std::string(key.substr(key.rfind('.') + 1)); }

/// What a key has where a configuration of another version does not name it; empty: it has none.
std::string default_of(const std::string& key, const Values& values,
                       const config::InterfaceSchemas& interfaces) {
  const std::string section = section_of(key), name = name_in(key), in_section = section + ".";
  // A section that is not there has no keys.
  const auto after = values.lower_bound(in_section);
  if (after == values.end() || !after->first.starts_with(in_section)) return {};
  const bool is_of_data_set = key.starts_with("dataset.");
  if (is_of_data_set && name == "add_bos") return "false";  // nothing was added
  std::string text = default_in(config::schema_of_section(section), name);
  if (!key.starts_with("call.") || !text.empty()) return text;
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
    if (meaning_of_change(key) == Resume::kNoted) {  // of a data set: the bounds of records
      names.insert(key.substr(begin, key.rfind('.') - begin));
    }
  }
  return {names.begin(), names.end()};
}

Resume meaning_of_change(std::string_view key, const config::Schema& options) {
  const config::Schema schema = config::schema_of_section(section_of(key));
  if (schema.empty()) return Resume::kNever;
  const config::FieldInfo* field = find_field(schema, name_in(key));
  if (field == nullptr && key.starts_with("call.")) field = find_field(options, name_in(key));
  if (field != nullptr) return field->on_resume;
  // A key of another version, in a section that says nothing of what is trained.
  const bool is_free =
      std::all_of(schema.begin(), schema.end(),
                  [](const config::FieldInfo& other) { return other.on_resume == Resume::kFree; });
  return is_free ? Resume::kFree : Resume::kRefused;
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
    const std::string interface_key = section_of(key) + ".interface";
    const std::string interface = new_values.contains(interface_key)
                                      ? new_values.at(interface_key)
                                      : value_in(old_values, interface_key);
    const auto options = interfaces.find(interface);
    switch (
        meaning_of_change(key, options == interfaces.end() ? config::Schema() : options->second)) {
      case Resume::kFree:
        break;
      case Resume::kNoted:
        (is_named ? changes.accepted : changes.noted).push_back(text);
        break;
      case Resume::kRefused:
        (is_named ? changes.accepted : changes.refused).push_back(text);
        break;
      case Resume::kNever:
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
