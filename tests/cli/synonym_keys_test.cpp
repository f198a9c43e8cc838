// The keys that the table of other systems' names leads to are there.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "orrery/algorithm/registry.h"
#include "orrery/base/text.h"
#include "orrery/config/experiment.h"
#include "orrery/config/synonyms.h"

namespace orrery::cli {
namespace {

template <class T>
std::set<std::string> keys_of() {
  std::set<std::string> keys;
  for (const config::FieldInfo& field : config::schema_of<T>()) keys.insert(field.name);
  return keys;
}

TEST(SynonymKeys, AreKeysOfAConfiguration) {
  std::map<std::string, std::set<std::string>> known = {
      {"experiment", keys_of<config::ExperimentSection>()},
      {"layout", keys_of<config::LayoutSection>()},
      {"checkpoint", keys_of<config::CheckpointConfig>()},
      {"evaluate", keys_of<config::EvaluateConfig>()},
      {"export", keys_of<config::ExportConfig>()},
      {"dynamic_sampling", keys_of<config::DynamicSamplingConfig>()},
      {"dataset.X", keys_of<config::DatasetConfig>()},
      {"model.X", keys_of<config::ModelConfig>()},
      {"call.X", keys_of<config::CallConfig>()}};
  for (const auto& [name, schema] : algorithm::interface_schemas()) {
    for (const config::FieldInfo& field : schema) known["call.X"].insert(field.name);
  }

  for (const config::Synonym& synonym : config::synonyms()) {
    const std::string places(synonym.ours.substr(0, synonym.ours.find("; ")));
    if (places == "nothing") continue;
    for (const std::string& piece : base::split(places, ',')) {
      const std::string place(base::trim(piece));
      const size_t dot = place.rfind('.');
      ASSERT_NE(dot, std::string::npos) << synonym.theirs;
      EXPECT_TRUE(known[place.substr(0, dot)].contains(place.substr(dot + 1)))
          << synonym.theirs << " -> " << place;
    }
  }
}

}  // namespace
}  // namespace orrery::cli
