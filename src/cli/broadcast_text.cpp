#include "broadcast_text.h"

#include <algorithm>
#include <cstdint>

namespace orrery::cli {

std::string broadcast_text(MPI_Comm world, std::string text) {
  constexpr uint64_t kPiece = uint64_t{1} << 30;  // counts of MPI are ints
  uint64_t size = text.size();
  MPI_Bcast(&size, 1, MPI_UINT64_T, 0, world);
  text.resize(size);
  for (uint64_t begin = 0; begin < size; begin += kPiece) {
    MPI_Bcast(text.data() + begin, static_cast<int>(std::min(kPiece, size - begin)), MPI_BYTE, 0,
              world);
  }
  return text;
}

}  // namespace orrery::cli
