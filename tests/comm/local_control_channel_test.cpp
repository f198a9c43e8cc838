#include "orrery/comm/local_control_channel.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "messages_for_test.h"
#include "orrery/base/error.h"

namespace orrery::comm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(LocalControlChannel, CarriesRequestsInOrderAndRepliesBack) {
  LocalControlChannels channels = make_local_control_channels(2);
  std::vector<std::jthread> workers;
  for (int w = 0; w < 2; ++w) {
    workers.emplace_back([&channel = *channels.workers[static_cast<std::size_t>(w)], w] {
      std::vector<uint64_t> ids;
      while (true) {
        const Request request = channel.receive();
        if (request.kind == RequestKind::kExit) return;
        if (request.kind != RequestKind::kFlush) {
          ids.push_back(request.id);
          continue;
        }
        Reply reply = reply_for_test(w);
        reply.request = ids.back();
        reply.times.clear();
        for (const uint64_t id : ids) reply.times.push_back({"id", static_cast<double>(id)});
        channel.reply(reply);
      }
    });
  }

  for (const uint64_t id : {10, 11, 12}) {
    Request request = request_for_test();
    request.id = id;
    for (int w = 0; w < 2; ++w) channels.master->send(w, request);
  }
  channels.master->flush();

  std::vector<int> seen(2, 0);
  for (int i = 0; i < 2; ++i) {
    const std::optional<Reply> reply = channels.master->wait(seconds(20));
    ASSERT_TRUE(reply.has_value());
    ++seen[static_cast<std::size_t>(reply->worker)];
    EXPECT_EQ(reply->request, 12u);
    EXPECT_EQ(reply->times, (std::vector<TimeRecord>{{"id", 10}, {"id", 11}, {"id", 12}}));
  }
  EXPECT_EQ(seen, (std::vector<int>{1, 1}));
  EXPECT_FALSE(channels.master->poll().has_value());
  channels.master->send_exit();
}

TEST(LocalControlChannel, WaitsForAReplyUpToTheLimit) {
  LocalControlChannels channels = make_local_control_channels(1);
  EXPECT_FALSE(channels.master->wait(milliseconds(5)).has_value());
}

TEST(LocalControlChannel, TellsAWorkerThatTheMasterIsGone) {
  LocalControlChannels channels = make_local_control_channels(1);
  std::jthread worker([&] { EXPECT_THROW(channels.workers[0]->receive(), CommError); });
  channels.master.reset();
}

TEST(LocalControlChannel, RefusesAWorkerThatDoesNotExist) {
  LocalControlChannels channels = make_local_control_channels(2);
  EXPECT_THROW(channels.master->send(2, {}), CallError);
  EXPECT_THROW(channels.master->send(-1, {}), CallError);
}

}  // namespace
}  // namespace orrery::comm
