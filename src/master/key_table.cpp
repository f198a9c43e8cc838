#include "orrery/master/key_table.h"

namespace orrery::master {

int KeyTable::intern(std::string_view name) {
  const auto [found, is_new] = numbers_.try_emplace(std::string(name), size());
  if (is_new) names_.emplace_back(name);
  return found->second;
}

int KeyTable::find(std::string_view name) const {
  const auto found = numbers_.find(std::string(name));
  return found == numbers_.end() ? -1 : found->second;
}

}  // namespace orrery::master
