// Runs the tests of this executable on every rank; only rank 0 reports what went well.
#include <gtest/gtest.h>

#include <memory>

#include "mpi_world.h"

namespace orrery::comm {

namespace {
const MpiSession* session = nullptr;
}  // namespace

const MpiSession& test_session() { return *session; }

}  // namespace orrery::comm

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const orrery::comm::MpiSession session(&argc, &argv);
  orrery::comm::session = &session;
  if (session.rank() != 0) {
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    class FailuresOnly : public ::testing::EmptyTestEventListener {
      void OnTestPartResult(const ::testing::TestPartResult& result) override {
        if (result.failed())
          std::printf("%s:%d: %s\n", result.file_name(), result.line_number(), result.summary());
      }
    };
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailuresOnly);
  }
  const int result = RUN_ALL_TESTS();
  if (::testing::UnitTest::GetInstance()->test_to_run_count() == 0) return 1;
  return result;
}
