#include "gather_texts.h"

#include <algorithm>

#include "orrery/comm/mpi_handle.h"  // ORRERY_MPI

namespace orrery::cli {

std::vector<std::string> gather_texts(MPI_Comm world, const std::string& own) {
  constexpr size_t kMost = 1 << 20;
  int rank = 0, n_ranks = 1;
  ORRERY_MPI(MPI_Comm_rank(world, &rank));
  ORRERY_MPI(MPI_Comm_size(world, &n_ranks));
  const int size = static_cast<int>(std::min(own.size(), kMost));
  std::vector<int> sizes(static_cast<size_t>(n_ranks)), begins(static_cast<size_t>(n_ranks));
  ORRERY_MPI(MPI_Gather(&size, 1, MPI_INT, sizes.data(), 1, MPI_INT, 0, world));
  int total = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    begins[i] = total;
    total += sizes[i];
  }
  std::string all(static_cast<size_t>(rank == 0 ? total : 0), '\0');
  ORRERY_MPI(MPI_Gatherv(own.data(), size, MPI_CHAR, all.data(), sizes.data(), begins.data(),
                         MPI_CHAR, 0, world));
  std::vector<std::string> texts;
  if (rank != 0) return texts;
  for (size_t i = 0; i < sizes.size(); ++i) {
    texts.push_back(all.substr(static_cast<size_t>(begins[i]), static_cast<size_t>(sizes[i])));
  }
  return texts;
}

}  // namespace orrery::cli
