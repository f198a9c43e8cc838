#include "orrery/data/text_stream.h"

#include <utility>  // exchange, move

#include "orrery/data/utf8.h"

namespace orrery::data {

std::string TextStream::add(int32_t id) {
  const std::string_view bytes = tokenizer_.bytes_of(id);
  if (has_begun_ || first_invalid_utf8(bytes)) {
    held_ += bytes;
    has_begun_ = true;
  } else {  // some tokenizers leave out the space that a text begins with
    beginning_.push_back(id);
    held_ = tokenizer_.decode(beginning_);
    has_begun_ = !held_.empty();
  }
  std::string rest = held_.substr(held_.size() - unfinished_utf8(held_));
  held_.resize(held_.size() - rest.size());
  return replace_invalid_utf8(std::exchange(held_, std::move(rest)));
}

std::string TextStream::finish() { return replace_invalid_utf8(std::exchange(held_, {})); }

}  // namespace orrery::data
