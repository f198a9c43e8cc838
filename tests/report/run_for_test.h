// A run directory in a temporary folder, gone at the end of the test.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace orrery::report {

class RunForTest {
 public:
  RunForTest() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = std::filesystem::path(::testing::TempDir()) /
            (std::string("orrery-report-") + info->test_suite_name() + "-" + info->name());
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_ / "samples");
    std::filesystem::create_directories(root_ / "trace");
    write("config.cfg", "[experiment]\nname = test\ntotal_steps = 4\n");
  }
  RunForTest(const RunForTest&) = delete;
  RunForTest& operator=(const RunForTest&) = delete;
  ~RunForTest() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }

  const std::filesystem::path& root() const { return root_; }
  /// Puts `text` at the end of a file.
  void append(const std::string& name, std::string_view text) const {
    std::ofstream(root_ / name, std::ios::app | std::ios::binary) << text;
  }
  void write(const std::string& name, std::string_view text) const {
    std::ofstream(root_ / name, std::ios::trunc | std::ios::binary) << text;
  }

 private:
  std::filesystem::path root_;
};

}  // namespace orrery::report
