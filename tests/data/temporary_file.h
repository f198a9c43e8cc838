// A file that a test writes and that is gone afterwards.
#pragma once

#include <unistd.h>  // getpid

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace orrery::data {

class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view content) : path_(unused_path()) { write(content); }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void write(std::string_view content) const { std::ofstream(path_, std::ios::binary) << content; }
  std::string path() const { return path_.string(); }

 private:
  static std::filesystem::path unused_path() {
    static std::atomic<int> number = 0;
    return std::filesystem::temp_directory_path() /
           ("orrery_data_test_" + std::to_string(getpid()) + "_" + std::to_string(++number));
  }

  std::filesystem::path path_;
};

}  // namespace orrery::data
