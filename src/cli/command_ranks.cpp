#include "command_ranks.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <new>
#include <thread>

#include "commands.h"  // say_once
#include "orrery/base/error.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "rank_versions.h"

namespace orrery::cli {

namespace {

constexpr int kHeadTag = 1;                            // {piece, bytes}
constexpr int kBodyTag = 2;                            // its bytes, in pieces
constexpr uint64_t kMessageBytes = uint64_t{1} << 30;  // counts of MPI are ints

struct Head {
  int64_t piece = 0;
  uint64_t n_bytes = 0;
};

void broadcast(MPI_Comm world, std::string& bytes) {
  uint64_t size = bytes.size();
  ORRERY_MPI(MPI_Bcast(&size, 1, MPI_UINT64_T, 0, world));
  bytes.resize(size);
  for (uint64_t begin = 0; begin < size; begin += kMessageBytes) {
    const auto count = static_cast<int>(std::min(kMessageBytes, size - begin));
    ORRERY_MPI(MPI_Bcast(bytes.data() + begin, count, MPI_BYTE, 0, world));
  }
}

void print(const std::string& text) { std::cerr << "orrery: " + text + "\n" << std::flush; }

}  // namespace

bool is_launched_as_rank() {
  // Not SLURM_PROCID: a batch script has it too, and a command in it is one process.
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

void say_once(const std::string& text) {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"}) {
    const char* const rank = std::getenv(name);
    if (rank == nullptr) continue;
    if (std::atoi(rank) == 0) break;
    // The launcher ends all ranks with the first that fails: it must not be one that says nothing.
    std::this_thread::sleep_for(std::chrono::seconds(3));
    return;
  }
  std::cerr << text << std::endl;
}

Verdict judge(const std::function<void()>& work) {
  try {
    work();
    return {};
  } catch (const Error& error) {
    return {error.exit_code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {static_cast<int>(ExitCode::kCallFailed),
            "out of memory; use more tensor or pipeline ranks, or a smaller --batch-tokens or "
            "--max-batch"};
  } catch (const std::exception& error) {
    return {static_cast<int>(ExitCode::kCallFailed), error.what()};
  }
}

CommandRanks::CommandRanks() {
  if (!is_launched_as_rank()) return;
  session_ = std::make_unique<comm::MpiSession>(nullptr, nullptr);
  check_rank_versions(*session_);
  results_ = comm::duplicate(session_->world());
  nodes_ = comm::map_nodes(session_->world());
}

int CommandRanks::worker() const {
  return is_single() ? 0 : nodes_.worker_of_rank[static_cast<size_t>(rank())];
}

CommandRanks::Start CommandRanks::start(const std::function<std::string()>& prepare) const {
  Start start;
  std::string bytes;
  if (is_master()) {
    const Verdict verdict = judge([&] { bytes = prepare(); });
    start.exit_code = verdict.exit_code;
    if (verdict.exit_code != 0) print(verdict.text);
  }
  if (!is_alone()) {
    ORRERY_MPI(MPI_Bcast(&start.exit_code, 1, MPI_INT, 0, session_->world()));
    if (start.exit_code == 0) broadcast(session_->world(), bytes);
  }
  if (start.exit_code == 0) start.bytes = std::move(bytes);
  return start;
}

int CommandRanks::agree(const Verdict& own) const {
  int exit_code = own.exit_code;
  int first = own.exit_code != 0 ? rank() : std::numeric_limits<int>::max();
  if (!is_alone()) {
    ORRERY_MPI(MPI_Allreduce(MPI_IN_PLACE, &exit_code, 1, MPI_INT, MPI_MAX, session_->world()));
    ORRERY_MPI(MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, session_->world()));
  }
  if (exit_code != 0 && first == rank()) {
    print(is_single()
              ? own.text
              : base::concat(own.text, " (worker ", worker(), " on ", session_->host(), ")"));
  }
  return exit_code;
}

void CommandRanks::send_result(int piece, const std::string& bytes) const {
  const Head head{.piece = piece, .n_bytes = bytes.size()};
  ORRERY_MPI(MPI_Send(&head, sizeof(head), MPI_BYTE, 0, kHeadTag, results_.get()));
  for (uint64_t begin = 0; begin < head.n_bytes; begin += kMessageBytes) {
    const auto count = static_cast<int>(std::min(kMessageBytes, head.n_bytes - begin));
    ORRERY_MPI(MPI_Send(bytes.data() + begin, count, MPI_BYTE, 0, kBodyTag, results_.get()));
  }
}

CommandRanks::Result CommandRanks::receive_result(std::chrono::duration<double> deadline) const {
  const auto since = std::chrono::steady_clock::now();
  MPI_Status status;
  for (int has_come = 0; has_come == 0;) {
    ORRERY_MPI(MPI_Iprobe(MPI_ANY_SOURCE, kHeadTag, results_.get(), &has_come, &status));
    if (has_come != 0) break;
    if (std::chrono::steady_clock::now() - since > deadline) {
      throw PeerError("the master waits for results of the workers",
                      {.expected = base::concat("one within ", deadline.count(), " s"),
                       .got = "none",
                       .advice = "see whether the workers compute (top); if they do, use a longer "
                                 "--deadline or smaller pieces"});
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  Head head;
  ORRERY_MPI(MPI_Recv(&head, sizeof(head), MPI_BYTE, status.MPI_SOURCE, kHeadTag, results_.get(),
                      MPI_STATUS_IGNORE));
  Result result{.piece = static_cast<int>(head.piece), .bytes = std::string(head.n_bytes, '\0')};
  for (uint64_t begin = 0; begin < head.n_bytes; begin += kMessageBytes) {
    const auto count = static_cast<int>(std::min(kMessageBytes, head.n_bytes - begin));
    ORRERY_MPI(MPI_Recv(result.bytes.data() + begin, count, MPI_BYTE, status.MPI_SOURCE, kBodyTag,
                        results_.get(), MPI_STATUS_IGNORE));
  }
  return result;
}

bool asks_for_help(std::span<const std::string> arguments) {
  return std::any_of(arguments.begin(), arguments.end(), [](const std::string& argument) {
    return argument == "--help" || argument == "-h";
  });
}

int run_on_ranks(const std::function<int(CommandRanks&)>& body) {
  CommandRanks ranks;
  int exit_code = 0;
  const Verdict verdict = judge([&] { exit_code = body(ranks); });
  if (verdict.exit_code == 0) return exit_code;
  if (ranks.is_single()) {
    print(verdict.text);
    return verdict.exit_code;
  }
  print(base::concat(
      ranks.is_master() ? std::string("master") : base::concat("worker ", ranks.worker()), " on ",
      ranks.session().host(), ": ", verdict.text));
  comm::abort_job(verdict.exit_code);
}

int run_on_master(const std::function<int()>& body) {
  return run_on_ranks([&](CommandRanks& ranks) {
    int exit_code = 0;
    const CommandRanks::Start start = ranks.start([&] {
      exit_code = body();
      return std::to_string(exit_code);
    });
    return start.bytes ? std::stoi(*start.bytes) : start.exit_code;
  });
}

}  // namespace orrery::cli
