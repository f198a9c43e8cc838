#include "orrery/master/failure.h"

#include <gtest/gtest.h>

#include <vector>

#include "orrery/base/text.h"

namespace orrery::master {
namespace {

Failure failure(int worker, const std::string& error) {
  return {.worker = worker,
          .call = "reward",
          .request_kind = comm::RequestKind::kInference,
          .error = error};
}

Failure named_failure(int worker, const std::string& what) {
  return failure(worker,
                 base::concat("worker ", worker, " on n", worker, ", step 3, call reward", what));
}

TEST(Failures, ThatAreTheSameAreSaidOnce) {
  const std::vector<Failure> failures = {named_failure(2, ": no judge"),
                                         named_failure(0, ": no judge"),
                                         named_failure(1, ": no judge")};

  EXPECT_EQ(text_of(failures),
            "worker 2 on n2, step 3, call reward: no judge (the same from workers 0, 1)");
}

TEST(Failures, ThatDifferHaveALineEach) {
  const std::vector<Failure> failures = {named_failure(0, ": no judge"), failure(1, "disk full"),
                                         named_failure(2, ": no judge")};

  EXPECT_EQ(text_of(failures),
            "worker 0 on n0, step 3, call reward: no judge (the same from worker 2)\n"
            "worker 1, call reward, inference: disk full");
}

TEST(Failures, OfAWorkerThatServesNothingNameNoCall) {
  std::vector<Failure> failures = {failure(3, "model.actor: no such file"),
                                   failure(1, "model.actor: no such file")};
  for (Failure& each : failures) each.call = "";

  EXPECT_EQ(text_of(failures), "worker 3: model.actor: no such file (the same from worker 1)");
}

TEST(Failures, OfVeryManyWorkersNameSome) {
  std::vector<Failure> failures;
  for (int worker = 0; worker < 100; ++worker) failures.push_back(named_failure(worker, ": gone"));

  EXPECT_NE(text_of(failures).find("15, 16, and 83 more)"), std::string::npos) << text_of(failures);
}

}  // namespace
}  // namespace orrery::master
