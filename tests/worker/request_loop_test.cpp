#include "orrery/worker/request_loop.h"

#include <gtest/gtest.h>

#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

#include "orrery/base/error.h"

namespace orrery::worker {
namespace {

using comm::RequestKind;
using Log = std::vector<std::string>;

/// Gives requests from a list; keeps the replies and notes them in the log.
class ScriptedChannel final : public comm::WorkerChannel {
 public:
  ScriptedChannel(std::deque<comm::Request> requests, Log& log)
      : requests_(std::move(requests)), log_(log) {}

  comm::Request receive() override {
    comm::Request request = std::move(requests_.front());
    requests_.pop_front();
    return request;
  }
  std::optional<comm::Request> poll() override { return receive(); }
  void reply(const comm::Reply& reply) override {
    log_.push_back("reply " + std::to_string(reply.request));
    replies.push_back(reply);
  }
  void drain(std::chrono::nanoseconds) override {}

  std::vector<comm::Reply> replies;

 private:
  std::deque<comm::Request> requests_;
  Log& log_;
};

class RecordingHandlers final : public Handlers {
 public:
  explicit RecordingHandlers(Log& log) : log_(log) {}

  void begin(const comm::Request& request) override {
    if (!request.clear.empty()) log_.push_back("clear " + std::to_string(request.id));
  }
  void run_hook(const comm::Request& request, const comm::Hook& hook, comm::Reply&) override {
    log_.push_back(std::string(comm::name_of(hook)) + " " + std::to_string(request.id));
  }
  void run_request(const comm::Request& request, comm::Reply&) override {
    log_.push_back(std::string(comm::name_of(request.kind)) + " " + std::to_string(request.id));
    if (request.id == failing) throw std::runtime_error("no luck");
  }

  uint64_t failing = 0;

 private:
  Log& log_;
};

comm::Request request(uint64_t id, RequestKind kind, std::vector<comm::Hook> pre = {},
                      std::vector<comm::Hook> post = {}) {
  comm::Request made;
  made.id = id;
  made.kind = kind;
  made.pre_hooks = std::move(pre);
  made.post_hooks = std::move(post);
  return made;
}

TEST(RequestLoop, RunsAFlushInThreePhases) {
  Log log;
  RecordingHandlers handlers(log);
  ScriptedChannel channel({request(1, RequestKind::kTrainStep, {comm::DataTransferHook{}},
                                   {comm::ReallocHook{}, comm::ResidencyHook{}}),
                           request(2, RequestKind::kInference, {comm::DataTransferHook{}}),
                           request(0, RequestKind::kFlush), request(0, RequestKind::kExit)},
                          log);

  serve_requests(channel, handlers, 0);

  EXPECT_EQ(log, (Log{"data_transfer 1", "data_transfer 2", "train_step 1", "offload 1",
                      "inference 2", "param_realloc 1", "reply 1", "reply 2"}));
}

TEST(RequestLoop, FetchesForARequestWhenThatBegins) {
  Log log;
  RecordingHandlers handlers(log);
  const comm::ResidencyHook fetch{.action = comm::ResidencyHook::kPrefetch};
  ScriptedChannel channel({request(1, RequestKind::kInference, {fetch}, {comm::ResidencyHook{}}),
                           request(2, RequestKind::kInference, {fetch, comm::DataTransferHook{}}),
                           request(0, RequestKind::kFlush), request(0, RequestKind::kExit)},
                          log);

  serve_requests(channel, handlers, 0);

  EXPECT_EQ(log, (Log{"data_transfer 2", "prefetch 1", "inference 1", "offload 1", "prefetch 2",
                      "inference 2", "reply 1", "reply 2"}));
}

TEST(RequestLoop, RunsOnlyTheHooksOfASideRequest) {
  Log log;
  RecordingHandlers handlers(log);
  ScriptedChannel channel({request(5, RequestKind::kEmpty, {comm::DataTransferHook{}}),
                           request(0, RequestKind::kFlush), request(0, RequestKind::kExit)},
                          log);

  serve_requests(channel, handlers, 3);

  EXPECT_EQ(log, (Log{"data_transfer 5", "reply 5"}));
  EXPECT_EQ(channel.replies.at(0).worker, 3);
}

TEST(RequestLoop, ForgetsClearedSamplesBeforeTheHooks) {
  Log log;
  RecordingHandlers handlers(log);
  comm::Request clearing = request(4, RequestKind::kEmpty, {comm::DataTransferHook{}});
  clearing.clear = {{7}};
  ScriptedChannel channel(
      {clearing, request(0, RequestKind::kFlush), request(0, RequestKind::kExit)}, log);

  serve_requests(channel, handlers, 0);

  EXPECT_EQ(log, (Log{"clear 4", "data_transfer 4", "reply 4"}));
}

TEST(RequestLoop, StartsNothingBeforeTheFlush) {
  Log log;
  RecordingHandlers handlers(log);
  ScriptedChannel channel({request(1, RequestKind::kInference), request(0, RequestKind::kExit)},
                          log);

  serve_requests(channel, handlers, 0);

  EXPECT_TRUE(log.empty());
}

TEST(RequestLoop, RepliesWithTheErrorAndStartsNothingMore) {
  Log log;
  RecordingHandlers handlers(log);
  handlers.failing = 1;
  ScriptedChannel channel({request(1, RequestKind::kInference), request(2, RequestKind::kInference),
                           request(0, RequestKind::kFlush), request(3, RequestKind::kInference),
                           request(0, RequestKind::kFlush), request(0, RequestKind::kExit)},
                          log);

  serve_requests(channel, handlers, 0);

  EXPECT_EQ(log, (Log{"inference 1", "reply 1"}));
  EXPECT_EQ(channel.replies.at(0).error, "no luck");
}

TEST(RequestLoop, LeavesAnErrorToTheMasterToSay) {
  Log log;
  RecordingHandlers handlers(log);
  handlers.failing = 1;
  ScriptedChannel channel({request(1, RequestKind::kInference), request(0, RequestKind::kFlush),
                           request(0, RequestKind::kExit)},
                          log);
  testing::internal::CaptureStderr();

  serve_requests(channel, handlers, 0);

  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(RequestLoop, OfAWorkerThatCannotServeTellsWhyAndWaitsForTheEnd) {
  Log log;
  ScriptedChannel channel({request(1, RequestKind::kInference), request(0, RequestKind::kFlush),
                           request(0, RequestKind::kExit)},
                          log);

  serve_error(channel, ConfigError("model.actor: no such file"), 2);

  ASSERT_EQ(channel.replies.size(), 1u);
  EXPECT_EQ(channel.replies[0].request, comm::kUnasked);
  EXPECT_EQ(channel.replies[0].worker, 2);
  EXPECT_EQ(channel.replies[0].error, "model.actor: no such file");
  EXPECT_EQ(channel.replies[0].exit_code, 2);
}

TEST(RequestLoop, AReplySaysOfWhichClassAnErrorIs) {
  class Failing final : public Handlers {
   public:
    void begin(const comm::Request&) override {}
    void run_hook(const comm::Request&, const comm::Hook&, comm::Reply&) override {}
    void run_request(const comm::Request& request, comm::Reply&) override {
      if (request.id == 1) throw DataError("a record");
      throw std::runtime_error("no luck");
    }
  } handlers;
  const auto reply_to = [&](uint64_t id) {
    Log log;
    ScriptedChannel channel({request(id, RequestKind::kInference), request(0, RequestKind::kFlush),
                             request(0, RequestKind::kExit)},
                            log);
    serve_requests(channel, handlers, 0);
    return channel.replies.at(0);
  };

  EXPECT_EQ(reply_to(1).error_kind, ErrorKind::kDataError);
  EXPECT_EQ(reply_to(1).exit_code, 2);
  EXPECT_EQ(reply_to(2).error_kind, ErrorKind::kCallError);
  EXPECT_EQ(reply_to(2).exit_code, 3);
}

}  // namespace
}  // namespace orrery::worker
