// `orrery doctor` as it is started before a job: alone and on ranks.
#include <gtest/gtest.h>

#include "base/temporary_folder.h"
#include "integration/command.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;

void expect(int exit_code, const Result& result, const std::string& text) {
  EXPECT_EQ(result.exit_code, exit_code) << result.output;
  EXPECT_NE(result.output.find(text), std::string::npos) << "expected: " << text << "\n"
                                                         << result.output;
}

TEST(Doctor, LooksAtOneProcess) {
  const TemporaryFolder folder;
  const std::string runs = (folder / "runs").string();

  const Result result = orrery_alone("doctor --seconds 0.05 --write-mb 4 --directory " + runs);

  for (const char* text : {"Orrery", "Open MPI", "LibTorch", "HDF5", "1 rank on 1 node",
                           "with fsync", "memcpy", "open files", "/dev/shm"}) {
    expect(0, result, text);
  }
  EXPECT_FALSE(fs::exists(runs)) << "it made a directory and left it";
}

TEST(Doctor, MeasuresBetweenRanksAndLeavesNothingBehind) {
  const TemporaryFolder folder;

  const Result result =
      orrery(3, "doctor --seconds 0.1 --write-mb 4 --directory " + folder.path().string());

  for (const char* text : {"3 ranks on 1 node", "MPI within the node", "all ranks see the file"}) {
    expect(0, result, text);
  }
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Doctor, SaysWhyAJobWouldFail) {
  const TemporaryFolder folder;
  const Result limited =
      run("ulimit -n 100; " + std::string(ORRERY_PROGRAM) +
          " doctor --seconds 0.05 --write-mb 0 --directory " + folder.path().string());
  expect(2, limited, "ulimit -n 4096");
  expect(2, limited, "a job would fail");
  expect(2, orrery(2, "doctor --directory /proc/nowhere"), "/proc/nowhere");
  expect(2, orrery_alone("doctor --secnds 1"), "did you mean --seconds?");
  expect(2, orrery_alone("doctor --seconds 0"), "--seconds must be");
}

}  // namespace
}  // namespace orrery::integration
