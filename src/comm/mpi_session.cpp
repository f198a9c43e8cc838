#include "orrery/comm/mpi_session.h"

#include <cstdlib>    // _Exit
#include <exception>  // uncaught_exceptions

#include "orrery/base/error.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/comm/mpi_handle.h"  // ORRERY_MPI

namespace orrery::comm {

MpiSession::MpiSession(int* argc, char*** argv) : uncaught_at_start_(std::uncaught_exceptions()) {
  int is_initialized = 0;
  ORRERY_MPI(MPI_Initialized(&is_initialized));
  if (is_initialized != 0) {
    throw CommError("MPI was started twice in one process",
                    {.expected = "one MpiSession", .got = "another one", .advice = ""});
  }
  int provided = MPI_THREAD_SINGLE;
  ORRERY_MPI(MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided));
  ORRERY_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  if (provided < MPI_THREAD_SERIALIZED) {
    throw CommError(
        "MPI lacks the thread support that is needed",
        {.expected = base::concat("MPI_THREAD_SERIALIZED (", MPI_THREAD_SERIALIZED, ")"),
         .got = base::concat(provided),
         .advice = "use an MPI library that was built with thread support"});
  }
  ORRERY_MPI(MPI_Comm_rank(MPI_COMM_WORLD, &rank_));
  ORRERY_MPI(MPI_Comm_size(MPI_COMM_WORLD, &size_));
  char name[MPI_MAX_PROCESSOR_NAME] = "";
  int length = 0;
  ORRERY_MPI(MPI_Get_processor_name(name, &length));
  host_.assign(name, static_cast<std::size_t>(length));
}

MpiSession::~MpiSession() {
  if (std::uncaught_exceptions() > uncaught_at_start_) return;
  if (MPI_Finalize() != MPI_SUCCESS) base::log_error("MPI_Finalize failed");
}

void abort_job(int exit_code) {
  int is_initialized = 0;
  int is_finalized = 0;
  MPI_Initialized(&is_initialized);
  MPI_Finalized(&is_finalized);
  if (is_initialized != 0 && is_finalized == 0) MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

}  // namespace orrery::comm
