#include "program_versions.h"

#include <mpi.h>
#include <torch/headeronly/version.h>  // TORCH_VERSION

#ifdef ORRERY_CUDA
#include <nccl.h>
#endif

#include "orrery/base/text.h"
#include "source_version.h"  // made by the build

namespace orrery::cli {

namespace {

struct Part {
  std::string name;
  std::string version;
};

/// The first line of what the library says.
std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "unknown";
  const std::string all(text, static_cast<size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));
}

std::string nccl_version() {
#ifdef ORRERY_CUDA
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) return "unknown";
  return base::concat(version / 10000, ".", version / 100 % 100, ".", version % 100);
#else
  return "left out (a build without CUDA)";
#endif
}

/// `0.1.0 (v0.1.0-12-gab9d54f)`.
std::string orrery_version() {
  const std::string sources = ORRERY_SOURCE_VERSION;
  return sources.empty() ? ORRERY_VERSION : base::concat(ORRERY_VERSION, " (", sources, ")");
}

std::vector<Part> parts() {
  return {{"Orrery", orrery_version()},  {"MPI", mpi_version()},   {"LibTorch", TORCH_VERSION},
          {"HDF5", ORRERY_HDF5_VERSION}, {"NCCL", nccl_version()}, {"compiler", __VERSION__}};
}

}  // namespace

std::string program_version() { return ORRERY_VERSION; }

std::string versions_line() {
  std::string line;
  for (const Part& part : parts()) {
    line += base::concat(line.empty() ? "" : ", ", part.name, " ", part.version);
  }
  return line;
}

std::string versions_text() {
  std::string text;
  for (const Part& part : parts()) {
    text += base::concat(part.name, std::string(10 - part.name.size(), ' '), part.version, "\n");
  }
  return text;
}

GpuSupport gpu_support() {
#ifdef ORRERY_CUDA
  return GpuSupport::kBuiltIn;
#else
  return GpuSupport::kLeftOut;
#endif
}

}  // namespace orrery::cli
