#include "checks.h"

#include <algorithm>
#include <filesystem>

#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/data/bpe_tokenizer.h"  // check_tokenizer_files

namespace orrery::cli {

namespace {

std::string section_of(const std::string& key) { return key.substr(0, key.rfind('.')); }

}  // namespace

bool Checks::is_default(const std::string& key, const std::string& value) {
  const std::string name = key.substr(key.rfind('.') + 1);
  const config::Schema schema = config::schema_of_section(section_of(key));
  return std::any_of(schema.begin(), schema.end(), [&](const config::FieldInfo& field) {
    return field.name == name && field.default_text == value;
  });
}

bool Checks::is_written(const std::string& key) const {
  const auto& positions = job_.experiment.positions;
  if (!positions.contains(key)) return false;
  // One that an older version wrote lacks the keys that are new.
  const std::string section = section_of(key);
  const config::Schema schema = config::schema_of_section(section);
  size_t n_stated = 0;
  for (const config::FieldInfo& field : schema) {
    n_stated += positions.contains(base::concat(section, ".", field.name)) ? 1 : 0;
  }
  return schema.empty() || n_stated + 3 < schema.size();
}

const data::Tokenizer& Checks::tokenizer(const std::string& name) {
  std::unique_ptr<data::Tokenizer>& known = tokenizers_[name];
  if (known == nullptr) known = data::make_tokenizer(name);
  return *known;
}

std::vector<int32_t> Checks::own_template_tokens(const std::string& directory) {
  if (directory.empty()) return {};
  data::check_tokenizer_files(directory);
  if (!base::exists(std::filesystem::path(directory) / "tokenizer.json")) return {};
  try {
    return tokenizer(directory).template_tokens();
  } catch (const Error&) {
    return {};  // a tokenizer that this program cannot run
  }
}

}  // namespace orrery::cli
