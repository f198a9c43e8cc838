// How fast a checkpoint's file is written and read, beside dd in the same directory and at the same
// time: rounds of both in turn, each as large, and the median of the ratios.
//
//   bench_checkpoint [MiB [ROUNDS]]     in ORRERY_BENCH_DIR, or in the current directory
//
// Written means synced. Read means that the file's pages were dropped before. A resume first checks
// the hash of every file, then takes the numbers: it goes over the file twice, the second time in
// memory if there is room.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "orrery/base/clock.h"
#include "orrery/base/philox.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/background_writer.h"
#include "orrery/checkpoint/directory.h"
#include "orrery/checkpoint/shard_file.h"

namespace orrery::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kColumns = 1024;

double seconds_of(const std::function<void()>& work) {
  const base::Stopwatch watch;
  work();
  return watch.seconds();
}

void run(const std::string& command) {
  if (std::system(command.c_str()) == 0) return;
  std::fprintf(stderr, "failed: %s\n", command.c_str());
  std::exit(1);
}

void drop_pages(const fs::path& file) {
  const int descriptor = ::open(file.c_str(), O_RDONLY);
  ::fdatasync(descriptor);
  ::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
  ::close(descriptor);
}

void add_matrices(ShardWriter& writer, const std::vector<float>& values) {
  const auto rows = static_cast<int64_t>(values.size()) / kColumns;
  constexpr int64_t kSlabs = 8;  // as many matrices, read back in the order of their names
  for (int64_t i = 0; i < kSlabs; ++i) {
    const int64_t n_rows = rows / kSlabs;
    writer.add({.name = base::concat("actor/parameters/w", i),
                .rows = n_rows,
                .columns = kColumns,
                .n_rows = n_rows,
                .n_columns = kColumns},
               values.data() + i * n_rows * kColumns);
  }
}

FileRecord write_file(const fs::path& file, const std::vector<float>& values,
                      Compression compression) {
  ShardWriter writer(file, compression);
  add_matrices(writer, values);
  return writer.finish();
}

void check_file(const fs::path& file, const FileRecord& record) {
  if (const auto problem = problem_of(file.parent_path(), record)) {
    std::fprintf(stderr, "%s\n", problem->c_str());
    std::exit(1);
  }
}

void read_file(const fs::path& file, std::vector<float>& values) {
  const ShardReader reader(file);
  size_t at = 0;
  for (size_t i = 0; i < reader.slabs().size(); ++i) {
    const Slab& slab = reader.slabs()[i];
    reader.read(i, {.n_rows = slab.n_rows, .n_columns = slab.n_columns}, values.data() + at,
                slab.n_columns);
    at += static_cast<size_t>(slab.numel());
  }
}

/// Rates of both in every round, in MiB/s.
struct Rates {
  const char* name;
  std::vector<double> dd, orrery, ratio;

  void add(double mib, double dd_seconds, double orrery_seconds) {
    dd.push_back(mib / dd_seconds);
    orrery.push_back(mib / orrery_seconds);
    ratio.push_back(dd_seconds / orrery_seconds);
  }
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// What a save costs the thread that trains: the copy, and handing it over.
void print_stall(const fs::path& file, const std::vector<float>& values) {
  BackgroundWriter writer;
  std::vector<double> copying, handing_over, writing;
  for (int i = 0; i < 3; ++i) {
    const base::Stopwatch watch;
    auto copy = std::make_shared<const std::vector<float>>(values);
    const double copied = watch.seconds();
    writer.start(file, Compression::kNone, [copy](ShardWriter& out) { add_matrices(out, *copy); });
    copy.reset();
    const double handed_over = watch.seconds();
    writer.wait();
    copying.push_back(copied);
    handing_over.push_back(handed_over - copied);
    writing.push_back(watch.seconds() - handed_over);
  }
  std::printf(
      "a save        stalls for %.0f ms of copying and %.3f ms of handing over; written in "
      "the background in %.0f ms\n",
      1e3 * median(copying), 1e3 * median(handing_over), 1e3 * median(writing));
}

int run_benchmark(int64_t mib, int rounds) {
  const char* const directory = std::getenv("ORRERY_BENCH_DIR");
  const fs::path root = fs::absolute(directory != nullptr ? directory : ".") /
                        base::concat("bench_checkpoint_", ::getpid());
  fs::create_directories(root);
  const fs::path plain = root / "dd", file = root / "worker-0000.h5";
  const std::string out = plain.string();
  // Noise, as weights are: neither a disk nor zlib gets anything for nothing.
  std::vector<float> values(static_cast<size_t>(mib) << 18);
  for (size_t i = 0; i < values.size(); i += 4) {
    const auto draw = base::philox_normal4(1, 2, i);
    for (size_t j = 0; j < 4; ++j) values[i + j] = static_cast<float>(draw[j]);
  }
  const std::string count = base::concat(" bs=4M count=", mib / 4, " status=none");
  const auto size = static_cast<double>(mib);
  Rates write{.name = "write + sync"}, read{.name = "read"}, check{.name = "check of hash"};
  Rates both{.name = "check, read"};
  std::vector<float> got(values.size());
  const fs::path source = root / "source";  // dd takes the same bytes, from memory
  run("dd if=/dev/urandom of=" + source.string() + count);
  for (int round = 0; round <= rounds; ++round) {
    fs::remove(plain);
    fs::remove(file);
    const double dd_write =
        seconds_of([&] { run("dd if=" + source.string() + " of=" + out + count + " conv=fsync"); });
    FileRecord record;
    const double our_write =
        seconds_of([&] { record = write_file(file, values, Compression::kNone); });
    drop_pages(plain);
    const double dd_read = seconds_of([&] { run("dd if=" + out + " of=/dev/null" + count); });
    drop_pages(file);
    const double our_read = seconds_of([&] { read_file(file, got); });
    drop_pages(file);
    const double our_check = seconds_of([&] { check_file(file, record); });
    const double our_second = seconds_of([&] { read_file(file, got); });
    if (got != values) {
      std::fprintf(stderr, "what was read is not what was written\n");
      std::exit(1);
    }
    if (round == 0) continue;  // the first touches all memory
    write.add(size, dd_write, our_write);
    read.add(size, dd_read, our_read);
    check.add(size, dd_read, our_check);
    both.add(size, dd_read, our_check + our_second);
  }
  std::printf("%ld MiB in %s, %d rounds, medians\n", static_cast<long>(mib),
              root.parent_path().c_str(), rounds);
  for (const Rates& rates : {write, read, check, both}) {
    std::printf("%-13s dd %6.0f MiB/s   orrery %6.0f MiB/s   %3.0f %%\n", rates.name,
                median(rates.dd), median(rates.orrery), 100 * median(rates.ratio));
  }
  const double deflated = seconds_of([&] { write_file(file, values, Compression::kDeflate); });
  std::printf("%-13s    %6s         orrery %6.0f MiB/s   %3.0f %% of the size\n", "deflate", "",
              size / deflated,
              100 * static_cast<double>(fs::file_size(file)) / (size * 1024 * 1024));
  print_stall(file, values);
  fs::remove_all(root);
  return 0;
}

}  // namespace
}  // namespace orrery::checkpoint

int main(int argc, char** argv) {
  const bool has_size = argc > 1 && argv[1][0] != '-';  // not Google Benchmark's arguments
  return orrery::checkpoint::run_benchmark(has_size ? std::atol(argv[1]) : 256,
                                           has_size && argc > 2 ? std::atoi(argv[2]) : 5);
}
