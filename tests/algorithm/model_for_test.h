// The smallest model that has everything, for tests of interfaces.
#pragma once

#include "orrery/data/tokenizer.h"
#include "orrery/model/architecture.h"

namespace orrery::algorithm {

/// Two layers that share key and value heads, over the bytes and their special tokens.
inline model::Architecture tiny_architecture() {
  model::Architecture a;
  a.vocab_size = data::ByteTokenizer::kVocabSize;
  a.hidden_size = 16;
  a.intermediate_size = 24;
  a.n_layers = 2;
  a.n_heads = 2;
  a.n_kv_heads = 1;
  a.head_dim = 8;
  a.max_positions = 64;
  return a;
}

}  // namespace orrery::algorithm
