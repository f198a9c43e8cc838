// `orrery doctor`: looks at ranks, nodes, file system, clocks and links before a long job. All
// ranks measure in the same order, with barriers in between so that no measurement disturbs
// another; rank 0 judges (doctor_report.h). A thread ends the job when a stage stands still: a
// broken network is one of the things to be found out.
#include <ATen/Parallel.h>  // get_num_threads
#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <thread>

#include "command_ranks.h"
#include "commands.h"
#include "doctor_gpu.h"
#include "doctor_report.h"
#include "node_gpus.h"
#include "orrery/base/clock.h"
#include "orrery/base/error.h"
#include "orrery/base/file.h"
#include "orrery/base/index.h"
#include "orrery/base/large_memory.h"
#include "orrery/base/log.h"
#include "orrery/base/text.h"
#include "orrery/config/model_commands.h"
#include "orrery/kernels/gpu.h"
#include "program_versions.h"

namespace orrery::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kHelp =
    R"(orrery doctor: is this a place where a job would run, and how fast is it?

  srun orrery doctor --directory /shared/runs      as the job will be started; or under mpirun, or
                                                   alone

Looks at versions, ranks and nodes, core binding, threads, GPUs, limits, memory and /dev/shm; whether
all nodes see the run directory, its free space and its write rate; clocks; latency and bandwidth of
MPI within and between nodes (memcpy beside it), and of NCCL where there are GPUs. Prints a table
with what to do. Exit code 0: a job would run; 2: something would make it fail.

)";

constexpr auto kStageDeadline = std::chrono::seconds(90);
constexpr size_t kLinkBytes = size_t{4} << 20;

/// Ends the job when a stage takes too long, and says which.
class StageWatch {
 public:
  explicit StageWatch(const CommandRanks& ranks)
      : ranks_(ranks), thread_([this](std::stop_token stop) { run(stop); }) {}

  void enter(const char* stage) {
    stage_ = stage;
    since_ = base::now_seconds();
  }

 private:
  void run(const std::stop_token& stop) {
    const double deadline = std::chrono::duration<double>(kStageDeadline).count();
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      if (base::now_seconds() - since_.load() < deadline) continue;
      std::cerr << base::concat("orrery: doctor: rank ", ranks_.rank(),
                                " stands still: ", stage_.load(),
                                "; see whether all nodes reach one another and the directory\n")
                << std::flush;
      comm::abort_job(2);
    }
  }

  const CommandRanks& ranks_;
  std::atomic<const char*> stage_ = "start";
  std::atomic<double> since_ = base::now_seconds();
  std::jthread thread_;  // last: it uses the others
};

int64_t limit_of(__rlimit_resource resource) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return -1;
  return static_cast<int64_t>(limit.rlim_cur);
}

int64_t free_bytes(const fs::path& path) {
  struct statvfs space {};
  if (::statvfs(path.c_str(), &space) != 0) return -1;
  return static_cast<int64_t>(space.f_bavail) * static_cast<int64_t>(space.f_frsize);
}

GpuFacts facts_of_gpus(const CommandRanks& ranks) {
  GpuFacts gpus;
  gpus.n_on_bus = gpus_on_bus("/sys");
  gpus.n_of_driver = gpus_of_driver("/dev");
  gpus.n_mig_instances = mig_instances("/proc");
  store(gpus.driver, driver_release("/proc"));
  if (const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES")) {
    store(gpus.visible_devices, visible);
  }
  gpus.n_visible = kernels::gpu_count();
  store(gpus.why_none, kernels::why_no_gpu());
  const kernels::CudaVersions cuda = kernels::cuda_versions();
  gpus.driver_cuda = cuda.driver;
  gpus.runtime_cuda = cuda.runtime;
  look_at_gpus(ranks, gpus);
  return gpus;
}

int64_t available_memory() {
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("MemAvailable:")) return std::stoll(line.substr(13)) * 1024;
  }
  return -1;
}

RankFacts facts_of_rank(const CommandRanks& ranks) {
  RankFacts facts;
  store(facts.host, ranks.is_alone() ? std::string("this machine") : ranks.session().host());
  store(facts.versions, versions_line());
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (::sched_getaffinity(0, sizeof(cores), &cores) == 0) {
    for (size_t core = 0; core < std::min<size_t>(kMaxCores, CPU_SETSIZE); ++core) {
      if (CPU_ISSET(core, &cores)) facts.cores[core / 64] |= uint64_t{1} << (core % 64);
    }
  }
  facts.online_cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  // A rank of several computes with experiment.threads_per_rank, which is 1 unless it is set.
  facts.threads = ranks.is_single() ? at::get_num_threads() : 1;
  facts.gpus = facts_of_gpus(ranks);
  facts.open_files = limit_of(RLIMIT_NOFILE);
  facts.locked_memory = limit_of(RLIMIT_MEMLOCK);
  facts.shm_free = free_bytes("/dev/shm");
  facts.memory_free = available_memory();
  if (!ranks.is_alone()) {
    facts.node = ranks.nodes().node_of_rank[static_cast<size_t>(ranks.rank())];
  }
  return facts;
}

bool is_first_of_node(const CommandRanks& ranks) {
  return ranks.is_alone() ||
         ranks.nodes().local_rank_of_rank[static_cast<size_t>(ranks.rank())] == 0;
}

void barrier(const CommandRanks& ranks) {
  if (!ranks.is_alone()) ORRERY_MPI(MPI_Barrier(ranks.session().world()));
}

/// The file that rank 0 writes and all must see, and the one that each node writes to measure.
class SharedDirectory {
 public:
  SharedDirectory(const CommandRanks& ranks, fs::path directory)
      : ranks_(ranks), directory_(std::move(directory)) {}

  /// Rank 0 writes; all agree on the text. Collective.
  Verdict write() {
    Verdict verdict;
    std::array<uint64_t, 2> number = {};
    if (ranks_.is_master()) {
      std::random_device random;
      number = {random(), random()};
      verdict = judge([&] {
        std::error_code failure;
        is_new_ = fs::create_directories(directory_, failure);
        if (failure) {
          throw ConfigError(base::concat("doctor --directory ", directory_.string()),
                            {.expected = "a folder that can be made and written",
                             .got = failure.message(),
                             .advice = "give a folder of yours"});
        }
        try {
          base::publish_file(file(number[0]), std::to_string(number[1]));
        } catch (const OutputError& error) {
          throw ConfigError(error.what());
        }
      });
    }
    if (!ranks_.is_alone()) {
      ORRERY_MPI(MPI_Bcast(number.data(), 2, MPI_UINT64_T, 0, ranks_.session().world()));
      ORRERY_MPI(MPI_Bcast(&verdict.exit_code, 1, MPI_INT, 0, ranks_.session().world()));
    }
    number_ = number;
    return verdict;
  }

  /// Network file systems show a new file late: for up to five seconds.
  bool is_seen() const {
    const base::Stopwatch watch;
    do {
      std::ifstream in(file(number_[0]));
      uint64_t text = 0;
      if (in >> text && text == number_[1]) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    } while (watch.seconds() < 5);
    return false;
  }

  /// Bytes a second of a file of this size, sync included; 0 when it cannot be written.
  double measure_write(int64_t megabytes) const {
    const fs::path path = file(number_[0] + 1 + static_cast<uint64_t>(ranks_.rank()));
    const std::string block(size_t{1} << 20, 'o');
    const base::Stopwatch watch;
    double rate = 0;
    {
      const base::PosixFile out = base::PosixFile::create(path);
      bool is_good = static_cast<bool>(out);
      for (int64_t i = 0; is_good && i < megabytes; ++i) is_good = out.write(block);
      if (is_good && out.sync()) {
        rate = static_cast<double>(megabytes) * static_cast<double>(block.size()) / watch.seconds();
      }
    }
    std::error_code ignored;
    fs::remove(path, ignored);
    return rate;
  }

  /// Rank 0, when nobody reads any more.
  void remove() const {
    std::error_code ignored;
    fs::remove(file(number_[0]), ignored);
    if (is_new_) fs::remove(directory_, ignored);  // only if it is empty
  }

 private:
  fs::path file(uint64_t number) const {
    return directory_ / base::concat(".orrery-doctor-", number);
  }

  const CommandRanks& ranks_;
  fs::path directory_;
  std::array<uint64_t, 2> number_ = {};
  bool is_new_ = false;
};

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Offset of this rank's clock against rank 0's, from the quickest of some round trips. Collective
/// over the two ranks; the result is on `other`.
void measure_clock(const CommandRanks& ranks, int other, RankFacts& facts) {
  constexpr int kRounds = 20;
  MPI_Comm world = ranks.session().world();
  double best = 1e9;
  for (int i = 0; i < kRounds; ++i) {
    if (ranks.rank() == other) {
      const double before = wall_seconds();
      double theirs = 0;
      ORRERY_MPI(MPI_Sendrecv(&before, 1, MPI_DOUBLE, 0, 1, &theirs, 1, MPI_DOUBLE, 0, 1, world,
                              MPI_STATUS_IGNORE));
      const double after = wall_seconds();
      if (after - before >= best) continue;
      best = after - before;
      facts.clock_offset_s = (before + after) / 2 - theirs;
      facts.clock_error_s = best / 2;
    } else {
      double question = 0;
      ORRERY_MPI(MPI_Recv(&question, 1, MPI_DOUBLE, other, 1, world, MPI_STATUS_IGNORE));
      const double now = wall_seconds();
      ORRERY_MPI(MPI_Send(&now, 1, MPI_DOUBLE, other, 1, world));
    }
  }
}

/// There and back, as often as fits into the time. Rank 0 leads; the count goes with the message.
/// Collective over rank 0 and `other`; the result, seconds one way, is on rank 0.
double ping_pong(const CommandRanks& ranks, int other, std::span<char> bytes, double seconds) {
  MPI_Comm world = ranks.session().world();
  const auto size = static_cast<int>(bytes.size());
  const base::Stopwatch watch;
  int64_t rounds = 0;
  for (bool goes_on = true; goes_on;) {
    if (ranks.rank() == 0) {
      goes_on = watch.seconds() < seconds || rounds < 3;
      bytes[0] = goes_on ? 1 : 0;
      ORRERY_MPI(MPI_Send(bytes.data(), size, MPI_BYTE, other, 2, world));
      ORRERY_MPI(MPI_Recv(bytes.data(), size, MPI_BYTE, other, 2, world, MPI_STATUS_IGNORE));
    } else {
      ORRERY_MPI(MPI_Recv(bytes.data(), size, MPI_BYTE, 0, 2, world, MPI_STATUS_IGNORE));
      goes_on = bytes[0] == 1;
      ORRERY_MPI(MPI_Send(bytes.data(), size, MPI_BYTE, 0, 2, world));
    }
    ++rounds;
  }
  return watch.seconds() / static_cast<double>(rounds) / 2;
}

double measure_memcpy(double seconds) {
  constexpr size_t kBytes = size_t{64} << 20;  // beyond the caches
  const base::LargeMemory from(kBytes);
  const base::LargeMemory to(kBytes);
  std::memset(from.data(), 1, kBytes);
  std::memcpy(to.data(), from.data(), kBytes);
  const base::Stopwatch watch;
  int64_t rounds = 0;
  do {
    std::memcpy(to.data(), from.data(), kBytes);
    ++rounds;
  } while (watch.seconds() < seconds);
  return static_cast<double>(rounds) * kBytes / watch.seconds();
}

/// Rank 0 against another rank of its node, and against the first of each other node. Collective
/// over all ranks; the result is on rank 0.
std::vector<Link> measure_links(const CommandRanks& ranks, double seconds) {
  std::vector<Link> links;
  if (ranks.is_single()) return links;
  const comm::NodeMap& nodes = ranks.nodes();
  std::vector<char> bytes(kLinkBytes, 0);
  std::vector<bool> is_done(static_cast<size_t>(nodes.n_nodes()), false);
  for (int other = 1; other < ranks.session().size(); ++other) {
    const int node = nodes.node_of_rank[base::index(other)];
    const bool crosses = node != nodes.node_of_rank[0];
    if (is_done[base::index(node)]) continue;
    is_done[base::index(node)] = true;
    if (ranks.rank() == 0 || ranks.rank() == other) {
      const double latency = ping_pong(ranks, other, std::span(bytes).first(8), seconds / 2);
      const double time = ping_pong(ranks, other, bytes, seconds / 2);
      links.push_back({.what = crosses
                                   ? base::concat("MPI to ", nodes.host_of_node[base::index(node)])
                                   : std::string("MPI within the node"),
                       .latency_s = latency,
                       .bytes_per_s = static_cast<double>(kLinkBytes) / time,
                       .kind = crosses ? LinkKind::kBetweenNodes : LinkKind::kWithinNode});
    }
    barrier(ranks);
  }
  return links;
}

std::vector<RankFacts> gather(const CommandRanks& ranks, const RankFacts& own) {
  if (ranks.is_alone()) return {own};
  std::vector<RankFacts> all(static_cast<size_t>(ranks.session().size()));
  ORRERY_MPI(MPI_Gather(&own, sizeof(own), MPI_BYTE, all.data(), sizeof(own), MPI_BYTE, 0,
                        ranks.session().world()));
  return all;
}

int examine(const CommandRanks& ranks, std::span<const std::string> arguments) {
  const CommandRanks::Start start = ranks.start([&] {
    config::parse_doctor_options(arguments);
    return std::string();
  });
  if (!start.bytes) return start.exit_code;
  const config::DoctorOptions options = config::parse_doctor_options(arguments);
  StageWatch watch(ranks);

  watch.enter("looking at the machine");
  RankFacts facts = facts_of_rank(ranks);
  watch.enter("writing to the run directory");
  SharedDirectory directory(ranks, options.directory);
  const Verdict verdict = directory.write();
  if (const int exit_code = ranks.agree(verdict); exit_code != 0) return exit_code;
  facts.sees_file = directory.is_seen() ? 1 : 0;
  facts.disk_free = free_bytes(options.directory);
  barrier(ranks);
  if (is_first_of_node(ranks) && facts.sees_file != 0 && options.write_mb > 0) {
    facts.write_bytes_per_s = directory.measure_write(options.write_mb);
  }
  barrier(ranks);
  if (ranks.is_master()) directory.remove();

  watch.enter("comparing clocks");
  for (int other = 1; !ranks.is_alone() && other < ranks.session().size(); ++other) {
    if (ranks.rank() == 0 || ranks.rank() == other) measure_clock(ranks, other, facts);
  }
  watch.enter("measuring MPI between ranks");
  std::vector<Link> links = measure_links(ranks, options.seconds);
  watch.enter("measuring copies to and from GPUs");
  measure_copies(ranks, facts.gpus);
  barrier(ranks);
  watch.enter("measuring NCCL between GPUs");
  for (const Link& link : measure_nccl(ranks, facts.gpus.n_visible, options.seconds))
    links.push_back(link);
  watch.enter("gathering results");
  const std::vector<RankFacts> all = gather(ranks, facts);
  const double memcpy_rate = ranks.is_master() ? measure_memcpy(options.seconds) : 0;
  barrier(ranks);
  if (!ranks.is_master()) return ranks.agree({});

  std::vector<Finding> findings = judge_ranks(all, gpu_support());
  const auto append = [&](const std::vector<Finding>& more) {
    findings.insert(findings.end(), more.begin(), more.end());
  };
  append(judge_directory(all, options.directory));
  append(judge_links(links, memcpy_rate));
  std::cout << versions_text() << "\n" << report_text(findings) << std::flush;
  return ranks.agree(
      {.exit_code = exit_code_of(findings), .text = "doctor: a job would fail here"});
}

}  // namespace

int run_doctor(std::span<const std::string> arguments) {
  if (asks_for_help(arguments)) {
    std::cout << kHelp << config::doctor_options_help();
    return 0;
  }
  return run_on_ranks([&](CommandRanks& ranks) { return examine(ranks, arguments); });
}

}  // namespace orrery::cli
