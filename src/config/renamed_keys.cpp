#include "orrery/config/renamed_keys.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "orrery/config/field.h"  // read_value

namespace orrery::config {

namespace {

constexpr RenamedKey kRenamed[] = {
    {"call", "eps_clip", "clip_range"},
    {"call", "eta", "ema_decay", OldValue::kOneMinus},
    {"call", "kl_ctl", "kl_coef"},
    {"call", "sample_reuse", "ppo_epochs"},
    {"call", "value_eps_clip", "value_clip_range"},
    {"model", "recompute_activations", "recompute_layers", OldValue::kAllOrNone},
};

std::string one_minus(const std::string& text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return text;
  char shortest[32];
  const auto written = std::to_chars(shortest, shortest + sizeof(shortest), 1 - number);
  return std::string(shortest, written.ptr);
}

std::string all_or_none(const std::string& text) {
  bool is_all = false;
  if (read_value(text, is_all)) return text;
  return is_all ? "all" : "0";
}

}  // namespace

std::span<const RenamedKey> renamed_keys() { return kRenamed; }

bool use_todays_name(std::string_view section, std::string& key, std::string& value) {
  const std::string_view kind = section.substr(0, section.find('.'));
  const auto renamed = std::find_if(
      std::begin(kRenamed), std::end(kRenamed),
      [&](const RenamedKey& each) { return each.kind == kind && each.old_name == key; });
  if (renamed == std::end(kRenamed)) return false;
  key = renamed->name;
  if (renamed->value == OldValue::kOneMinus) value = one_minus(value);
  if (renamed->value == OldValue::kAllOrNone) value = all_or_none(value);
  return true;
}

}  // namespace orrery::config
