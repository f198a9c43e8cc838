#include "orrery/data/prompt_template.h"

#include "orrery/base/text.h"     // concat
#include "orrery/config/field.h"  // unescaped

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
