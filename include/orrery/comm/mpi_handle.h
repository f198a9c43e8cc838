// Owners of MPI's handles and the checked call. Errors of MPI come back as status codes (sessions
// and communicators set MPI_ERRORS_RETURN) and become CommError.
#pragma once

#include <mpi.h>

#include <source_location>

#include "orrery/base/unique_handle.h"

namespace orrery::comm {

[[noreturn]] void throw_mpi_error(int status, const char* call, std::source_location where);

inline void check_mpi(int status, const char* call, std::source_location where) {
  if (status != MPI_SUCCESS) throw_mpi_error(status, call, where);
}

/// Calls MPI; throws CommError with the text of the call and MPI's explanation when it fails.
#define ORRERY_MPI(call) ::orrery::comm::check_mpi((call), #call, std::source_location::current())

struct MpiCommTraits {
  using Raw = MPI_Comm;
  static Raw none() noexcept { return MPI_COMM_NULL; }
  static void close(Raw raw) noexcept;  // does nothing after MPI_Finalize
};
using UniqueMpiComm = base::UniqueHandle<MpiCommTraits>;

struct MpiDatatypeTraits {
  using Raw = MPI_Datatype;
  static Raw none() noexcept { return MPI_DATATYPE_NULL; }
  static void close(Raw raw) noexcept;
};
using UniqueMpiDatatype = base::UniqueHandle<MpiDatatypeTraits>;

/// A communicator of our own with the ranks of `parent`: traffic on it cannot be mistaken for
/// others'. Collective over `parent`.
UniqueMpiComm duplicate(MPI_Comm parent);

}  // namespace orrery::comm
