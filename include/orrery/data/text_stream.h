// Text of tokens as they come, in whole characters: a token may end inside one. An object belongs
// to one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "orrery/data/tokenizer.h"

namespace orrery::data {

class TextStream {
 public:
  /// `tokenizer` must outlive it.
  explicit TextStream(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// What can be shown now that `id` has come: valid UTF-8, perhaps nothing. All that add() and
  /// finish() give, one after the other, is what decode() gives of all ids, with U+FFFD for what is
  /// no UTF-8. (Some decoders replace all of a run of single-byte tokens when its end is malformed:
  /// what was shown of it stays.)
  std::string add(int32_t id);
  /// No further id comes: what was held back.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  std::vector<int32_t> beginning_;  // ids so far, until they give a text
  bool has_begun_ = false;
  std::string held_;  // the beginning of a character
};

}  // namespace orrery::data
