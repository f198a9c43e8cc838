#include "orrery/base/terminal.h"

#include <gtest/gtest.h>
#include <pty.h>  // openpty
#include <unistd.h>

#include <cstdlib>
#include <utility>  // pair

#include "orrery/base/posix_file.h"  // FileDescriptor

namespace orrery::base {
namespace {

/// Standard error or output is this, until the object ends.
class Redirected {
 public:
  Redirected(int stream, int target) : stream_(stream), before_(::dup(stream)) {
    ::dup2(target, stream_);
  }
  ~Redirected() { ::dup2(before_.get(), stream_); }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;

 private:
  int stream_;
  FileDescriptor before_;
};

/// A pseudo terminal.
struct Pty {
  FileDescriptor person, program;
  explicit Pty(unsigned short columns = 132) {
    winsize size = {};
    size.ws_row = 24;
    size.ws_col = columns;
    int ends[2] = {-1, -1};
    EXPECT_EQ(::openpty(&ends[0], &ends[1], nullptr, nullptr, &size), 0);
    person = FileDescriptor(ends[0]);
    program = FileDescriptor(ends[1]);
  }
};

class Terminal : public testing::Test {
 protected:
  void SetUp() override {
    ::setenv("TERM", "xterm", 1);
    ::unsetenv("NO_COLOR");
  }
};

TEST_F(Terminal, OfStandardErrorIsSeenWithItsWidth) {
  const Pty pty;
  const Redirected redirected(STDERR_FILENO, pty.program.get());

  EXPECT_TRUE(is_seen_on_terminal());
  EXPECT_EQ(seen_columns(), 132);
}

TEST_F(Terminal, IsNotBehindAPipeOfAnybodyButMpirun) {
  int ends[2] = {-1, -1};
  ASSERT_EQ(::pipe(ends), 0);
  const FileDescriptor read(ends[0]), write(ends[1]);
  const Redirected redirected(STDERR_FILENO, write.get());

  EXPECT_FALSE(is_seen_on_terminal());
  EXPECT_EQ(seen_columns(), 80);
}

TEST_F(Terminal, OfStandardOutputHasAWidthUnlessItIsTooNarrowForAPicture) {
  for (const auto& [columns, expected] : {std::pair(132, 132), {40, 40}, {39, 80}, {0, 80}}) {
    const Pty pty(static_cast<unsigned short>(columns));
    const Redirected redirected(STDOUT_FILENO, pty.program.get());
    EXPECT_EQ(standard_output_columns(), expected) << columns;
  }
}

TEST_F(Terminal, ThatIsDumbCannotRewriteALine) {
  const Pty pty;
  const Redirected error(STDERR_FILENO, pty.program.get());
  const Redirected output(STDOUT_FILENO, pty.program.get());

  for (const char* kind : {"dumb", ""}) {
    ::setenv("TERM", kind, 1);
    EXPECT_FALSE(is_seen_on_terminal());
    EXPECT_FALSE(can_draw_on_standard_output());
  }
}

TEST_F(Terminal, HasNoColoursWhereNobodyWantsThem) {
  const Pty pty;
  const Redirected redirected(STDOUT_FILENO, pty.program.get());
  EXPECT_TRUE(can_colour_standard_output());

  ::setenv("NO_COLOR", "1", 1);

  EXPECT_FALSE(can_colour_standard_output());
  EXPECT_TRUE(can_draw_on_standard_output());
}

}  // namespace
}  // namespace orrery::base
