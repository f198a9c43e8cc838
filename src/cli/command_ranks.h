// The ranks of a command that works on a model: this process alone, or under mpirun or srun a
// master (rank 0) and workers. Alone the process is both.
//
//   rank 0: prepare --+-- agree --+-- take results, show progress, write --+-- exit
//                     | bytes     ^ results of pieces                      |
//   others: wait ---->+-- agree --+-- load shard, compute pieces ----------+-- exit
//
// Every step in which a rank can fail ends with an agreement, so that none waits for one that has
// given up. What fails inside a piece ends the job (comm::abort_job), as a failed call of `train`.
// Main thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "orrery/comm/communicator.h"
#include "orrery/comm/mpi_handle.h"
#include "orrery/comm/mpi_session.h"
#include "orrery/comm/node_map.h"

namespace orrery::cli {

/// Whether a launcher (mpirun, srun) started this process as a rank of a job.
bool is_launched_as_rank();

/// What one rank's part of an agreement came to; 0 is good.
struct Verdict {
  int exit_code = 0;
  std::string text;
};

/// Runs `work`; an exception becomes its verdict.
Verdict judge(const std::function<void()>& work);

class CommandRanks {
 public:
  /// Starts MPI where a launcher did. Collective over all ranks.
  CommandRanks();

  bool is_alone() const { return session_ == nullptr; }
  int rank() const { return is_alone() ? 0 : session_->rank(); }
  bool is_master() const { return rank() == 0; }
  int n_workers() const { return is_single() ? 1 : session_->size() - 1; }
  /// Which worker this rank is; -1: the master of several ranks.
  int worker() const;
  /// One rank that is master and worker.
  bool is_single() const { return is_alone() || session_->size() == 1; }
  /// Only with a session.
  const comm::MpiSession& session() const { return *session_; }
  const comm::NodeMap& nodes() const { return nodes_; }

  /// Rank 0 runs `prepare` and all ranks get its bytes. When it throws, rank 0 prints why and all
  /// get the exit code. Collective over all ranks.
  struct Start {
    std::optional<std::string> bytes;
    int exit_code = 0;
  };
  Start start(const std::function<std::string()>& prepare) const;

  /// 0 when all ranks are good. Else one of those that are not prints why, and all get the highest
  /// exit code. Collective over all ranks.
  int agree(const Verdict& own) const;

  /// A result of a piece of work on its way to rank 0. One at a time.
  void send_result(int piece, const std::string& bytes) const;
  struct Result {
    int piece = -1;
    std::string bytes;
  };
  /// Rank 0: the next result of any worker. Throws PeerError when none comes within `deadline`.
  Result receive_result(std::chrono::duration<double> deadline) const;

 private:
  std::unique_ptr<comm::MpiSession> session_;  // null: alone; ends last
  comm::UniqueMpiComm results_;
  comm::NodeMap nodes_;
};

/// `--help` or `-h` is among the arguments: then nothing else counts, and no rank is needed.
bool asks_for_help(std::span<const std::string> arguments);

/// Runs `body` and returns its exit code. An exception of a rank of several ends all of them: its
/// peers may be waiting for it. The outermost catch of commands on ranks.
int run_on_ranks(const std::function<int(CommandRanks&)>& body);

/// For commands that are one process's work: rank 0 does it, others only wait for it and get its
/// exit code.
int run_on_master(const std::function<int()>& body);

}  // namespace orrery::cli
