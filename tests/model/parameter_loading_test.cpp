#include "orrery/model/parameter_loading.h"

#include <gtest/gtest.h>

#include "orrery/model/load_log.h"

namespace orrery::model {
namespace {

ParameterSpec spec_of(const char* name, std::vector<int64_t> shape, int64_t offset) {
  ParameterSpec spec{.name = name, .full_shape = shape, .shape = shape};
  spec.offset = offset;
  spec.numel = 1;
  for (const int64_t n : shape) spec.numel *= n;
  return spec;
}

TEST(PiecesOf, AreWholeRowsThatFollowEachOther) {
  const ParameterTable table{.parameters = {spec_of("matrix", {5, 3}, 0), spec_of("bias", {8}, 15),
                                            spec_of("wide", {2, 9}, 23)},
                             .numel = 41};
  std::vector<int64_t> sizes;
  int64_t end = 0;
  for (const ParameterPiece& piece : pieces_of(table, 7)) {
    EXPECT_EQ(piece.offset(), end);
    end += piece.numel();
    sizes.push_back(piece.numel());
  }
  // Two rows of three at most; seven of one; a row of nine is longer than any piece should be.
  EXPECT_EQ(sizes, (std::vector<int64_t>{6, 6, 3, 7, 1, 9, 9}));
  EXPECT_EQ(end, table.numel);
}

TEST(LoadLog, SaysHowFarItIsNowAndThen) {
  using std::chrono::seconds;
  std::vector<std::string> lines;
  LoadLog log("model.actor", "/models/m", [&](const std::string& line) { lines.push_back(line); });
  const auto begin = LoadLog::Clock::now();

  log.observe({.file_bytes = 1 << 20, .parameters_read = 10, .parameters = 100},
              begin + seconds(1));
  EXPECT_TRUE(lines.empty());
  log.observe({.file_bytes = 3 << 20, .parameters_read = 30, .parameters = 100},
              begin + seconds(12));
  log.observe({.file_bytes = 4 << 20, .parameters_read = 40, .parameters = 100},
              begin + seconds(13));
  log.observe({.file_bytes = 10 << 20, .parameters_read = 100, .parameters = 100},
              begin + seconds(20));

  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[0].find("model.actor: 30 % of /models/m is read, 3.0 MiB in 12"),
            std::string::npos)
      << lines[0];
  EXPECT_NE(lines[1].find("100 % of /models/m"), std::string::npos) << lines[1];
}

TEST(LoadLog, SaysNothingOfWhatIsSoonDone) {
  LoadLog log("model.actor", "/models/m", [](const std::string& line) { FAIL() << line; });
  log.observe({.file_bytes = 10, .parameters_read = 5, .parameters = 5});
}

}  // namespace
}  // namespace orrery::model
