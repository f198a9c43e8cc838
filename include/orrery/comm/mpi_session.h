// MPI from its beginning to its end. One per process, made by main(), outliving everything that
// communicates. Main thread.
#pragma once

#include <mpi.h>

#include <string>

namespace orrery::comm {

class MpiSession {
 public:
  /// Starts MPI with MPI_THREAD_SERIALIZED: any thread may call it, one at a time. Collective over
  /// all ranks. Throws CommError, also when MPI was started before or cannot do that.
  MpiSession(int* argc, char*** argv);

  /// Ends MPI; collective over all ranks. While an exception unwinds it does nothing, since peers
  /// may never come: the outermost catch must then call abort_job().
  ~MpiSession();

  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// All ranks; errors on it are returned, not fatal.
  MPI_Comm world() const { return MPI_COMM_WORLD; }
  /// As MPI calls this machine.
  const std::string& host() const { return host_; }

 private:
  int rank_ = 0;
  int size_ = 1;
  int uncaught_at_start_ = 0;
  std::string host_;
};

/// Ends all ranks of the job with `exit_code`. Only for the outermost catch of the program. Works
/// without a session too: then it ends this process.
[[noreturn]] void abort_job(int exit_code);

}  // namespace orrery::comm
