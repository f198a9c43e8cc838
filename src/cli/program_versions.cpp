#include "program_versions.h"

#include <link.h>  // dl_iterate_phdr
#include <mpi.h>
#include <torch/headeronly/version.h>  // TORCH_VERSION

#include <cstring>  // memcmp

#include "doctor_gpu.h"  // nccl_version
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

namespace {

/// The note that the linker leaves in a program, in hexadecimal digits; empty: it left none.
int find_build_id(dl_phdr_info* info, size_t, void* found) {
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = info->dlpi_phdr[i];
    if (part.p_type != PT_NOTE) continue;
    const auto* at = reinterpret_cast<const unsigned char*>(info->dlpi_addr + part.p_vaddr);
    const auto* const end = at + part.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      const auto* const note = reinterpret_cast<const ElfW(Nhdr)*>(at);
      const auto* const name = at + sizeof(*note);
      const auto* const bytes = name + (note->n_namesz + 3) / 4 * 4;
      if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
          std::memcmp(name, "GNU", 4) == 0) {
        for (unsigned k = 0; k < note->n_descsz; ++k) {
          constexpr const char* kDigits = "0123456789abcdef";
          *static_cast<std::string*>(found) += kDigits[bytes[k] / 16];
          *static_cast<std::string*>(found) += kDigits[bytes[k] % 16];
        }
      }
      at = bytes + (note->n_descsz + 3) / 4 * 4;
    }
  }
  return 1;  // the program itself comes first; the libraries do not count
}

}  // namespace

std::string program_build() {
  std::string build;
  dl_iterate_phdr(find_build_id, &build);
  return base::concat(ORRERY_VERSION, ", build ", build.empty() ? "unknown" : build);
}

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

}  // namespace orrery::cli
