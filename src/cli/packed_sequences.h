// Token sequences on their way between ranks and into models.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "orrery/model/packed_tokens.h"
#include "text_file.h"

namespace orrery::cli {

model::PackedTokens pack_sequences(std::span<const std::vector<int64_t>> sequences);

/// As bytes, and back on another rank.
std::string pack_bytes(const TokenSequences& sequences);
TokenSequences unpack_sequences(const std::string& bytes);

}  // namespace orrery::cli
