#include "prompt_reader.h"

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/data/prompt_template.h"
#include "orrery/data/utf8.h"

namespace orrery::cli {

TokenLimits prompt_limits(const ModelSource& source) {
  return {.vocab_size = source.architecture.vocab_size,
          .max_length = source.architecture.max_positions - 1,
          .length_reason =
              base::concat("the context of the model is ", source.architecture.max_positions,
                           ", and one must be left to generate")};
}

PromptReader::PromptReader(const ModelSource& source, const std::string& add_bos)
    : tokenizer_(tokenizer_for(source)),
      special_tokens_(data::beginning_tokens(add_bos, *tokenizer_)),
      limits_(prompt_limits(source)) {}

std::vector<int64_t> PromptReader::ids_of(const std::string& prompt,
                                          const std::string& place) const {
  if (const auto wrong = data::first_invalid_utf8(prompt)) {
    throw DataError(place, {.expected = "text in UTF-8",
                            .got = base::concat("byte ", *wrong + 1, " begins no character"),
                            .advice = "write it in UTF-8"});
  }
  std::vector<int32_t> ids = tokenizer_->encode(prompt);
  data::put_before(special_tokens_, ids);
  std::vector<int64_t> sequence(ids.begin(), ids.end());
  check_sequences({sequence}, limits_, {place});
  return sequence;
}

}  // namespace orrery::cli
