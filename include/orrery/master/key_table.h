// Names of keys as small integers: the master compares and indexes keys in its inner loops, so each
// name is looked up once, when the graph is read or metadata arrives. Main thread of the master.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "orrery/base/index.h"

namespace orrery::master {

class KeyTable {
 public:
  /// Number of `name`, a new one if it was never seen. Local.
  int intern(std::string_view name);
  /// Number of `name`, or -1. Local.
  int find(std::string_view name) const;
  const std::string& name(int key) const { return names_.at(base::index(key)); }
  int size() const { return static_cast<int>(names_.size()); }

 private:
  std::vector<std::string> names_;
  std::unordered_map<std::string, int> numbers_;
};

}  // namespace orrery::master
