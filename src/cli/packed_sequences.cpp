#include "packed_sequences.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cereal/archives/binary.hpp>
#include <cereal/types/vector.hpp>
#include <sstream>

namespace orrery::cli {

model::PackedTokens pack_sequences(std::span<const std::vector<int64_t>> sequences) {
  int64_t total = 0;
  std::vector<int32_t> lengths;
  for (const std::vector<int64_t>& ids : sequences) {
    lengths.push_back(static_cast<int32_t>(ids.size()));
    total += lengths.back();
  }
  at::Tensor tokens = at::empty({total}, at::kLong);
  auto* out = tokens.mutable_data_ptr<int64_t>();
  for (const std::vector<int64_t>& ids : sequences) out = std::copy(ids.begin(), ids.end(), out);
  return model::pack_tokens(tokens, lengths);
}

std::string pack_bytes(const TokenSequences& sequences) {
  std::ostringstream out;
  cereal::BinaryOutputArchive archive(out);
  archive(sequences);
  return std::move(out).str();
}

TokenSequences unpack_sequences(const std::string& bytes) {
  std::istringstream in(bytes);
  cereal::BinaryInputArchive archive(in);
  TokenSequences sequences;
  archive(sequences);
  return sequences;
}

}  // namespace orrery::cli
