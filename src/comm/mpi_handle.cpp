#include "orrery/comm/mpi_handle.h"

#include "orrery/base/error.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"

namespace orrery::comm {

namespace {

std::string explain(int status) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  if (MPI_Error_string(status, text, &length) != MPI_SUCCESS) return "unknown error";
  return std::string(text, static_cast<std::size_t>(length));
}

bool is_finalized() noexcept {
  int flag = 0;
  return MPI_Finalized(&flag) == MPI_SUCCESS && flag != 0;
}

}  // namespace

void throw_mpi_error(int status, const char* call, std::source_location where) {
  throw CommError(base::concat("MPI failed in ", where.function_name(), " (", where.file_name(),
                               ":", where.line(), "): ", call),
                  {.expected = "MPI_SUCCESS",
                   .got = explain(status),
                   .advice = "see whether a rank or the network between the nodes has failed"});
}

void MpiCommTraits::close(Raw raw) noexcept {
  if (is_finalized()) return;  // MPI_Finalize has freed it
  if (MPI_Comm_free(&raw) != MPI_SUCCESS) base::log_warning("MPI_Comm_free failed");
}

void MpiDatatypeTraits::close(Raw raw) noexcept {
  if (is_finalized()) return;
  if (MPI_Type_free(&raw) != MPI_SUCCESS) base::log_warning("MPI_Type_free failed");
}

UniqueMpiComm duplicate(MPI_Comm parent) {
  MPI_Comm raw = MPI_COMM_NULL;
  ORRERY_MPI(MPI_Comm_dup(parent, &raw));
  UniqueMpiComm owned(raw);
  ORRERY_MPI(MPI_Comm_set_errhandler(raw, MPI_ERRORS_RETURN));
  return owned;
}

}  // namespace orrery::comm
