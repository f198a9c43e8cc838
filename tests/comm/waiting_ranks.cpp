// For killed_peer_test.sh: all ranks but the last wait in a barrier that the last never reaches.
// Every rank prints `rank R pid P`. Exits like the program: the outermost catch ends the job.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "orrery/base/error.h"
#include "orrery/comm/mpi_communicator.h"
#include "orrery/comm/mpi_session.h"

namespace {

void wait_in_barrier(int argc, char** argv) {
  const orrery::comm::MpiSession session(&argc, &argv);
  orrery::comm::CommunicatorOptions options;
  options.deadline = std::chrono::duration<double>(argc > 1 ? std::atof(argv[1]) : 600);
  options.check_agreement = false;
  const auto group = orrery::comm::MpiCommunicator::create(session.world(), "waiting", options);
  std::printf("rank %d pid %d\n", session.rank(), static_cast<int>(getpid()));
  std::fflush(stdout);
  if (session.rank() == session.size() - 1) {
    while (true) pause();
  }
  group->barrier();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    wait_in_barrier(argc, argv);
    return 0;
  } catch (const orrery::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    orrery::comm::abort_job(error.exit_code());
  }
}
