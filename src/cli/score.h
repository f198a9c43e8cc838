// How `orrery score` divides its work; for its tests.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace orrery::cli {

/// Sequences [begin, end) that are computed together.
struct ScorePiece {
  int begin = 0;
  int end = 0;
  int64_t tokens = 0;
  bool operator==(const ScorePiece&) const = default;
};

/// Neighbours, at most `max_tokens` of them together; a longer sequence goes alone. Follows from
/// the lengths only, not from the layout: so all data parallel layouts compute the very same
/// matmuls. Small inputs are cut into about sixteen pieces all the same, for the data ranks to
/// share. Pure.
std::vector<ScorePiece> plan_score_pieces(std::span<const int64_t> lengths, int64_t max_tokens);

}  // namespace orrery::cli
