// The MPI session of the process that runs the tests under mpirun. Tests are the same on all ranks
// and run in the same order; nothing may return before a collective.
#pragma once

#include "orrery/comm/mpi_session.h"

namespace orrery::comm {

/// Made by main() of the tests.
const MpiSession& test_session();

}  // namespace orrery::comm
