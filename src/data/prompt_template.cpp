#include "orrery/data/prompt_template.h"

#include <algorithm>  // equal

#include "orrery/base/text.h"         // concat
#include "orrery/config/field.h"      // unescaped
#include "orrery/data/token_index.h"  // is_token_file

namespace orrery::data {

PromptTemplate::PromptTemplate(const config::DatasetConfig& dataset)
    : system_prefix_(config::unescaped(dataset.system_prefix)),
      system_suffix_(config::unescaped(dataset.system_suffix)),
      prompt_prefix_(config::unescaped(dataset.prompt_prefix)),
      prompt_suffix_(config::unescaped(dataset.prompt_suffix)) {}

std::string_view PromptTemplate::prompt(std::string_view system, std::string_view prompt,
                                        std::string& buffer) const {
  if (system.empty() && prompt_prefix_.empty() && prompt_suffix_.empty()) return prompt;
  buffer.clear();
  if (!system.empty()) buffer.append(system_prefix_).append(system).append(system_suffix_);
  return buffer.append(prompt_prefix_).append(prompt).append(prompt_suffix_);
}

std::vector<int32_t> beginning_tokens(std::string_view add_bos, const Tokenizer& tokenizer) {
  if (add_bos == "false") return {};
  std::vector<int32_t> special_tokens = tokenizer.template_tokens();
  if (special_tokens.empty() && add_bos == "true") special_tokens.push_back(tokenizer.bos_id());
  return special_tokens;
}

void put_before(const std::vector<int32_t>& special_tokens, std::vector<int32_t>& ids) {
  const bool are_there = ids.size() >= special_tokens.size() &&
                         std::equal(special_tokens.begin(), special_tokens.end(), ids.begin());
  if (!are_there) ids.insert(ids.begin(), special_tokens.begin(), special_tokens.end());
}

std::vector<std::string> marks_taken_as_text(const config::DatasetConfig& dataset,
                                             const Tokenizer& tokenizer) {
  std::vector<std::string> remarks;
  for (const auto& [key, text] : {std::pair{"system_prefix", dataset.system_prefix},
                                  std::pair{"system_suffix", dataset.system_suffix},
                                  std::pair{"prompt_prefix", dataset.prompt_prefix},
                                  std::pair{"prompt_suffix", dataset.prompt_suffix}}) {
    for (std::size_t begin = text.find("<|"); begin != std::string::npos;
         begin = text.find("<|", begin + 2)) {
      const std::size_t end = text.find("|>", begin);
      if (end == std::string::npos) break;
      const std::string name = text.substr(begin, end + 2 - begin);
      if (tokenizer.encode(name).size() == 1) continue;
      remarks.push_back(base::concat(key, ": ", name,
                                     " is no token of the tokenizer; it is taken as plain text"));
    }
  }
  return remarks;
}

}  // namespace orrery::data
