// Each warning and failure of `orrery doctor`, raised by facts that call for it.
#include "doctor_report.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace orrery::cli {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

template <size_t n>
void name(std::array<char, n>& chars, const std::string& text) {
  std::copy(text.begin(), text.end(), chars.begin());
}

/// A rank that may run on cores [first_core, first_core + n_cores) of 8 of its node.
RankFacts rank_on(int node, int first_core, int n_cores) {
  RankFacts facts;
  name(facts.host, "n" + std::to_string(node));
  name(facts.versions, "Orrery 1");
  facts.cores[0] = ((uint64_t{1} << n_cores) - 1) << first_core;
  facts.online_cores = 8;
  facts.threads = 1;
  facts.open_files = 4096;
  facts.locked_memory = -1;
  facts.shm_free = kGiB;
  facts.memory_free = 8 * kGiB;
  facts.disk_free = 100 * kGiB;
  facts.write_bytes_per_s = 1e9;
  facts.node = node;
  return facts;
}

std::vector<RankFacts> four_ranks() {
  return {rank_on(0, 0, 4), rank_on(0, 4, 4), rank_on(1, 0, 4), rank_on(1, 4, 4)};
}

Health worst(const std::vector<Finding>& findings) {
  Health health = Health::kFine;
  for (const Finding& finding : findings) health = std::max(health, finding.health);
  return health;
}

TEST(JudgeRanks, FindsNothingWhereNothingIs) {
  const auto findings = judge_ranks(four_ranks(), GpuSupport::kLeftOut);
  EXPECT_EQ(worst(findings), Health::kFine) << report_text(findings);
  EXPECT_EQ(exit_code_of(findings), 0);
  EXPECT_NE(report_text(findings).find("4 ranks on 2 nodes"), std::string::npos);
}

/// What must be said of the four ranks after a change to one of them.
struct Fault {
  const char* name;
  void (*change)(std::vector<RankFacts>& ranks);
  Health health;
  const char* advice;
};

TEST(JudgeRanks, NamesEachFault) {
  const Fault faults[] = {
      {"another build", [](auto& ranks) { name(ranks[3].versions, "Orrery 2"); }, Health::kFailure,
       "same build"},
      {"more ranks than cores", [](auto& ranks) { ranks[0].cores[0] = ranks[1].cores[0] = 1; },
       Health::kWarning, "more ranks than cores"},
      {"more threads than cores", [](auto& ranks) { ranks[0].threads = 16; }, Health::kWarning,
       "threads_per_rank"},
      {"few of the cores",
       [](auto& ranks) {
         ranks[0].cores[0] = 1;
         ranks[1].cores[0] = 2;
       },
       Health::kWarning, "most cores"},
      {"GPUs that the build leaves", [](auto& ranks) { ranks[2].gpus.n_of_driver = 2; },
       Health::kWarning, "without CUDA"},
      {"few open files", [](auto& ranks) { ranks[2].open_files = 100; }, Health::kFailure,
       "ulimit -n"},
      {"little locked memory", [](auto& ranks) { ranks[2].locked_memory = 65536; },
       Health::kWarning, "ulimit -l"},
      {"little shared memory", [](auto& ranks) { ranks[0].shm_free = 1000; }, Health::kWarning,
       "/dev/shm"},
      {"a clock that is off", [](auto& ranks) { ranks[2].clock_offset_s = -30; }, Health::kWarning,
       "chrony"},
  };
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.name);
    std::vector<RankFacts> ranks = four_ranks();
    fault.change(ranks);

    const auto findings = judge_ranks(ranks, GpuSupport::kLeftOut);

    EXPECT_EQ(worst(findings), fault.health);
    EXPECT_EQ(exit_code_of(findings), fault.health == Health::kFailure ? 2 : 0);
    EXPECT_NE(report_text(findings).find(fault.advice), std::string::npos) << report_text(findings);
  }
}

TEST(JudgeRanks, WantsAGpuForEachWorkerButNotForTheMaster) {
  std::vector<RankFacts> ranks = four_ranks();
  for (RankFacts& rank : ranks) {
    rank.gpus.n_of_driver = rank.gpus.n_visible = rank.node == 0 ? 1 : 2;
  }
  EXPECT_EQ(worst(judge_ranks(ranks, GpuSupport::kBuiltIn)), Health::kFine);

  for (RankFacts& rank : ranks) rank.gpus.n_of_driver = rank.gpus.n_visible = 1;
  EXPECT_EQ(worst(judge_ranks(ranks, GpuSupport::kBuiltIn)), Health::kFailure);
}

TEST(JudgeRanks, DoesNotMindAMasterWithoutAGpuOnANodeOfItsOwn) {
  std::vector<RankFacts> ranks = {rank_on(0, 0, 4), rank_on(1, 0, 4), rank_on(1, 4, 4)};
  for (size_t worker : {1, 2}) ranks[worker].gpus.n_of_driver = ranks[worker].gpus.n_visible = 2;
  EXPECT_EQ(worst(judge_ranks(ranks, GpuSupport::kBuiltIn)), Health::kFine);
}

TEST(JudgeRanks, BelievesAClockNoMoreThanItsRoundTrip) {
  std::vector<RankFacts> ranks = four_ranks();
  ranks[2].clock_offset_s = 5;
  ranks[2].clock_error_s = 4.5;
  EXPECT_EQ(worst(judge_ranks(ranks, GpuSupport::kLeftOut)), Health::kFine);
}

TEST(JudgeDirectory, MustBeSeenByAllAndHaveRoom) {
  std::vector<RankFacts> ranks = four_ranks();
  EXPECT_EQ(worst(judge_directory(ranks, "/runs")), Health::kFine);

  ranks[3].sees_file = 0;
  const auto blind = judge_directory(ranks, "/runs");
  EXPECT_EQ(worst(blind), Health::kFailure);
  EXPECT_NE(report_text(blind).find("not seen on n1"), std::string::npos);

  ranks[3].sees_file = 1;
  ranks[0].disk_free = 1000;
  EXPECT_EQ(worst(judge_directory(ranks, "/runs")), Health::kFailure);
}

TEST(JudgeLinks, WarnsOfSlowOnes) {
  const Link good{
      .what = "MPI to n1", .latency_s = 2e-6, .bytes_per_s = 12e9, .kind = LinkKind::kBetweenNodes};
  Link slow = good;
  slow.bytes_per_s = 0.1e9;
  EXPECT_EQ(worst(judge_links(std::vector{good}, 10e9)), Health::kFine);
  EXPECT_EQ(worst(judge_links(std::vector{slow}, 10e9)), Health::kWarning);
  slow = {.what = "MPI within the node", .latency_s = 1e-3, .bytes_per_s = 12e9};
  EXPECT_EQ(worst(judge_links(std::vector{slow}, 10e9)), Health::kWarning);
  slow.bytes_per_s = 4e9;
  slow.kind = LinkKind::kGpusOfNode;
  EXPECT_NE(report_text(judge_links(std::vector{slow}, 10e9)).find("nvidia-smi topo -m"),
            std::string::npos);
  slow.bytes_per_s = 0.9e9;
  slow.kind = LinkKind::kGpusBetweenNodes;
  EXPECT_NE(report_text(judge_links(std::vector{slow}, 10e9)).find("NCCL_IB_HCA"),
            std::string::npos);
  slow.kind = LinkKind::kAllGpus;  // a collective is no message
  EXPECT_EQ(worst(judge_links(std::vector{slow}, 10e9)), Health::kFine);
}

}  // namespace
}  // namespace orrery::cli
