#include "rank_versions.h"

#include <mpi.h>

#include <array>
#include <cstdio>
#include <map>
#include <thread>

#include "orrery/base/error.h"
#include "orrery/base/text.h"
#include "orrery/comm/mpi_handle.h"  // ORRERY_MPI
#include "program_versions.h"

namespace orrery::cli {

namespace {

constexpr int kTag = 4;

/// Fixed for ever: a later version must be able to read it.
struct Message {
  std::array<char, 128> build{};
  std::array<char, 128> host{};
};

Message own_message(const comm::MpiSession& mpi) {
  Message message;
  std::snprintf(message.build.data(), message.build.size(), "%s", program_build().c_str());
  std::snprintf(message.host.data(), message.host.size(), "%s", mpi.host().c_str());
  return message;
}

RankVersion read(Message message) {
  message.build.back() = message.host.back() = '\0';
  return {message.build.data(), message.host.data()};
}

[[noreturn]] void refuse(const std::string& got) {
  throw ConfigError("the ranks of this job are not one build of orrery",
                    {.expected = base::concat(program_build(), " on every rank"),
                     .got = got,
                     .advice = "start the same program on all nodes"});
}

/// A small message of `rank`. Nothing within the deadline: the message is empty.
RankVersion receive(const comm::MpiSession& mpi, int rank,
                    std::chrono::steady_clock::time_point until) {
  Message message;
  MPI_Request request = MPI_REQUEST_NULL;
  ORRERY_MPI(MPI_Irecv(&message, sizeof(message), MPI_BYTE, rank, kTag, mpi.world(), &request));
  for (int has_come = 0;;) {
    ORRERY_MPI(MPI_Test(&request, &has_come, MPI_STATUS_IGNORE));
    if (has_come != 0) return read(message);
    if (std::chrono::steady_clock::now() > until) {
      ORRERY_MPI(MPI_Cancel(&request));
      ORRERY_MPI(MPI_Wait(&request, MPI_STATUS_IGNORE));
      return {};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace

std::string differing_versions(const std::vector<RankVersion>& ranks) {
  std::map<std::string, std::string> by_build;
  for (size_t rank = 1; rank < ranks.size(); ++rank) {
    const RankVersion& one = ranks[rank];
    if (one.build == ranks.front().build) continue;
    std::string& list =
        by_build[one.build.empty() ? "a version that does not say which" : one.build];
    list += base::concat(list.empty() ? "" : ", ", "rank ", rank,
                         one.host.empty() ? "" : base::concat(" on ", one.host));
  }
  std::string text;
  for (const auto& [build, list] : by_build) {
    text += base::concat(text.empty() ? "" : "; ", build, " on ", list);
  }
  return text;
}

void check_rank_versions(const comm::MpiSession& mpi, std::chrono::duration<double> deadline) {
  const auto until = std::chrono::steady_clock::now() +
                     std::chrono::duration_cast<std::chrono::steady_clock::duration>(deadline);
  const Message own = own_message(mpi);
  if (mpi.rank() != 0) {
    ORRERY_MPI(MPI_Send(&own, sizeof(own), MPI_BYTE, 0, kTag, mpi.world()));
    const RankVersion master = receive(mpi, 0, until);
    // Rank 0 says it for all; here only what rank 0 cannot say.
    if (master.build.empty()) refuse("a master that does not say its version: another one");
    return;
  }
  std::vector<RankVersion> ranks = {read(own)};
  for (int rank = 1; rank < mpi.size(); ++rank) {
    ORRERY_MPI(MPI_Send(&own, sizeof(own), MPI_BYTE, rank, kTag, mpi.world()));
  }
  for (int rank = 1; rank < mpi.size(); ++rank) ranks.push_back(receive(mpi, rank, until));
  if (const std::string got = differing_versions(ranks); !got.empty()) refuse(got);
}

}  // namespace orrery::cli
