// A program for the test of tools/mpi_test.sh: all ranks meet in a barrier, except that rank 1
// leaves with status 3 before it (`fails`) or never comes (`hangs`).
#include <mpi.h>
#include <unistd.h>

#include <cstdio>
#include <string>

int main(int argc, char** argv) {
  const std::string behaviour = argc > 1 ? argv[1] : "succeeds";
  MPI_Init(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank == 1 && behaviour == "fails") return 3;
  if (rank == 1 && behaviour == "hangs") pause();
  MPI_Barrier(MPI_COMM_WORLD);
  std::printf("rank %d came through\n", rank);
  MPI_Finalize();
  return 0;
}
