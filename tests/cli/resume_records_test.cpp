// What a killed job leaves of its records, cut at every byte, is whole lines when the run goes on.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/temporary_folder.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"
#include "orrery/metrics/jsonl_writer.h"
#include "orrery/metrics/tensorboard.h"
#include "orrery/metrics/trace.h"
#include "resume.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kStep = 10;  // that the run goes on after

/// Not as publish_file: there are hundreds, and nothing crashes here.
void put(const fs::path& file, const std::string& content) {
  std::ofstream(file, std::ios::binary) << content;
}

class ResumedRecords : public testing::Test {
 protected:
  ResumedRecords() { make_folders(run_); }

  /// Runs `check` with what is left of `file`, which begins as `content` cut at each byte of its
  /// last two lines.
  void at_every_cut(const fs::path& file, const std::string& content, const fs::path& later,
                    const std::function<void(const std::string&, size_t)>& check) const {
    const size_t last = content.rfind('\n', content.size() - 2);
    for (size_t size = content.rfind('\n', last - 1) + 1; size <= content.size(); ++size) {
      fs::remove_all(run_.trace());
      make_folders(run_);
      put(file, content.substr(0, size));
      continue_run_directory(run_, {}, kStep);
      check(base::read_file(later), size);
    }
  }

  /// All lines of `content` that end within its first `size` bytes.
  static std::string whole_lines(const std::string& content, size_t size) {
    return content.substr(0, size == 0 ? 0 : content.rfind('\n', size - 1) + 1);
  }

  void expect_whole_lines(const fs::path& file, const std::string& content,
                          const fs::path& later) const {
    at_every_cut(file, content, later, [&](const std::string& left, size_t size) {
      EXPECT_EQ(left, whole_lines(content, size)) << size;
    });
  }

  TemporaryFolder folder_;
  RunDirectory run_{folder_.path()};
};

TEST_F(ResumedRecords, MetricsAreWholeLines) {
  std::string content;
  for (int64_t step = 8; step <= kStep; ++step) {
    content += metrics::metrics_line({.step = step, .metrics = {{"loss", 0.5}}}) + "\n";
  }
  expect_whole_lines(run_.metrics(), content, run_.metrics());
}

TEST_F(ResumedRecords, SamplesAreWholeLines) {
  const fs::path file = run_.samples() / "step-00000010-rank-0.jsonl";
  expect_whole_lines(file, "{\"id\":1}\n{\"id\":2,\"response\":\"a\\nb\"}\n{\"id\":3}\n", file);
}

TEST_F(ResumedRecords, FailedAnswersAreWholeLines) {
  const fs::path file = run_.failed_answers() / "reward-rank-0.jsonl";
  fs::create_directories(run_.failed_answers());
  expect_whole_lines(file, "{\"step\":1,\"id\":1}\n{\"step\":2,\"id\":7}\n{\"step\":10,\"id\":3}\n",
                     file);
}

TEST_F(ResumedRecords, TracesAreWholeLines) {
  const fs::path file = run_.trace() / "worker-0.json";
  {
    metrics::TraceWriter trace(file, 0, "worker 0");
    const metrics::TraceSpan first(&trace, "call", "actor_gen");
    const metrics::TraceSpan second(&trace, "call", "actor_train");
  }
  expect_whole_lines(file, base::read_file(file), run_.trace() / "until-step-10" / "worker-0.json");
}

TEST_F(ResumedRecords, TracesOfAnEarlierAttemptFromTheSameStepStay) {
  for (const char* text : {"[\n1,\n", "[\n2,\n"}) {
    put(run_.trace() / "worker-0.json", text);
    continue_run_directory(run_, {}, kStep);
  }

  EXPECT_EQ(base::read_file(run_.trace() / "until-step-10" / "worker-0.json"), "[\n1,\n");
  EXPECT_EQ(base::read_file(run_.trace() / "until-step-10.1" / "worker-0.json"), "[\n2,\n");
}

TEST_F(ResumedRecords, TensorBoardHasTheEventsThatAreWhole) {
  fs::path file;
  std::vector<size_t> ends;  // of the version and two events
  {
    metrics::TensorBoardWriter writer(run_.tensorboard());
    file = writer.file();
    for (int64_t step = 9; step <= kStep; ++step) {
      ends.push_back(base::file_size(file));
      writer.write(step, {{"loss", 0.5}});
    }
    ends.push_back(base::file_size(file));
  }
  const std::string content = base::read_file(file);
  for (size_t size = 0; size <= content.size(); ++size) {
    put(file, content.substr(0, size));

    continue_run_directory(run_, {}, kStep);

    size_t whole = 0;
    for (const size_t end : ends) whole = end <= size ? end : whole;
    EXPECT_EQ(base::read_file(file), content.substr(0, whole)) << size;
  }
}

TEST_F(ResumedRecords, LinesOfTheLogAreEnded) {
  const std::string content = "12:00 info one\n12:01 info two\n12:02 info three\n";
  at_every_cut(run_.log(), content, run_.log(), [&](const std::string& left, size_t size) {
    const std::string cut = content.substr(0, size);
    EXPECT_EQ(left, cut.ends_with('\n') ? cut : cut + "\n");
  });
}

}  // namespace
}  // namespace orrery::cli
