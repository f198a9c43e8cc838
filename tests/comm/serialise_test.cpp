#include "orrery/comm/serialise.h"

#include <gtest/gtest.h>

#include <cstring>  // memcpy

#include "messages_for_test.h"
#include "orrery/base/error.h"

namespace orrery::comm {
namespace {

/// Text of the ProtocolError that reading raises; empty when there is none.
std::string problem_with(const std::string& bytes, uint64_t expected_sequence = 0) {
  try {
    read_request(bytes, expected_sequence);
  } catch (const ProtocolError& error) {
    return error.what();
  }
  return "";
}

void set_envelope(std::string& bytes, const Envelope& envelope) {
  std::memcpy(bytes.data(), &envelope, sizeof(envelope));
}

TEST(Serialise, BringsBackEveryFieldOfARequest) {
  const Request sent = request_for_test();

  const Request got = read_request(frame_request(sent, 5), 5);

  EXPECT_EQ(got.sequence, 5u);
  EXPECT_EQ(got.id, sent.id);
  EXPECT_EQ(got.call, sent.call);
  EXPECT_EQ(got.kind, sent.kind);
  EXPECT_EQ(got.step, sent.step);
  EXPECT_EQ(got.batch, sent.batch);
  EXPECT_EQ(got.rows, sent.rows);
  EXPECT_EQ(got.prefetch, sent.prefetch);
  EXPECT_EQ(got.clear, sent.clear);
  EXPECT_EQ(got.body, "private");
  ASSERT_EQ(got.pre_hooks.size(), 1u);
  const auto& transfers = std::get<DataTransferHook>(got.pre_hooks[0]).transfers;
  ASSERT_EQ(transfers.size(), 1u);
  EXPECT_EQ(transfers[0].source, 0);
  EXPECT_EQ(transfers[0].destinations, (std::vector<int>{1, 2}));
  EXPECT_EQ(transfers[0].batch, sent.batch);
  ASSERT_EQ(got.post_hooks.size(), 2u);
  EXPECT_EQ(std::get<ReallocHook>(got.post_hooks[0]).from_role, "ref");
  EXPECT_EQ(std::get<ResidencyHook>(got.post_hooks[1]).replica, 1);
  EXPECT_EQ(std::get<ResidencyHook>(got.post_hooks[1]).action, ResidencyHook::kRelease);
}

TEST(Serialise, BringsBackEveryFieldOfAReply) {
  const Reply sent = reply_for_test(3);

  const Reply got = read_reply(frame_reply(sent, 8), 8, "worker 3");

  EXPECT_EQ(got.worker, 3);
  EXPECT_EQ(got.request, sent.request);
  EXPECT_EQ(got.call, sent.call);
  EXPECT_EQ(got.error, sent.error);
  EXPECT_EQ(got.output, sent.output);
  EXPECT_EQ(got.statistics, sent.statistics);
  EXPECT_EQ(got.evaluation, sent.evaluation);
  EXPECT_EQ(got.times, sent.times);
  EXPECT_EQ(got.memory, sent.memory);
  EXPECT_EQ(got.body, sent.body);
}

TEST(Serialise, NamesExpectedAndGotWhenASequenceNumberIsMissing) {
  const std::string text = problem_with(frame_request(request_for_test(), 7), 6);
  EXPECT_NE(text.find("out of sequence"), std::string::npos) << text;
  EXPECT_NE(text.find("sequence 6"), std::string::npos) << text;
  EXPECT_NE(text.find("sequence 7"), std::string::npos) << text;
  EXPECT_NE(text.find("id 41, call 2"), std::string::npos) << text;
}

TEST(Serialise, RefusesWhatIsNotAMessage) {
  std::string bytes = frame_request(request_for_test(), 0);
  bytes[0] = static_cast<char>(bytes[0] + 1);
  EXPECT_NE(problem_with(bytes).find("not one of Orrery's"), std::string::npos);
  EXPECT_NE(problem_with("short").find("too short"), std::string::npos);
}

TEST(Serialise, RefusesAMessageOfAnotherVersion) {
  std::string bytes = frame_request(request_for_test(), 0);
  Envelope envelope = read_envelope(bytes);
  ++envelope.version;
  set_envelope(bytes, envelope);
  const std::string text = problem_with(bytes);
  EXPECT_NE(text.find("another version"), std::string::npos) << text;
  EXPECT_NE(text.find("version " + std::to_string(Envelope::kVersion)), std::string::npos) << text;
}

TEST(Serialise, RefusesAReplyWhereARequestIsDue) {
  const std::string text = problem_with(frame_reply(reply_for_test(1), 0));
  EXPECT_NE(text.find("unexpected kind"), std::string::npos) << text;
}

TEST(Serialise, RefusesEveryTruncatedMessage) {
  const std::string bytes = frame_request(request_for_test(), 0);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_NE(problem_with(bytes.substr(0, size)), "") << size << " of " << bytes.size();
  }
  EXPECT_NE(problem_with(bytes + "x"), "");
}

TEST(Serialise, RefusesBytesThatAreLeftOver) {
  std::string bytes = frame_request(request_for_test(), 0) + "xyz";
  Envelope envelope = read_envelope(bytes);
  envelope.body_bytes += 3;
  set_envelope(bytes, envelope);
  EXPECT_NE(problem_with(bytes).find("3 bytes left over"), std::string::npos);
}

TEST(Serialise, NeedsAboutFortyBytesPerSampleAndKey) {
  constexpr int kSamples = 512;
  Request request;
  for (const char* key : {"packed_input_ids", "packed_logprobs", "prompt_mask", "rewards"}) {
    data::KeyMetadata metadata{
        .key = key, .dtype = data::DType::kF32, .trailing_shape = {}, .lengths = {}};
    for (int i = 0; i < kSamples; ++i) metadata.lengths.add_sample(100 + i);
    request.batch.keys.push_back(metadata);
  }
  for (uint64_t i = 0; i < kSamples; ++i) request.batch.ids.push_back({i});

  const uint64_t bytes = frame_request(request, 0).size();

  EXPECT_LT(bytes, kSamples * 4 * 40u);
  EXPECT_GT(bytes, kSamples * 4 * 4u);
}

TEST(Message, NamesHandlesAndHooks) {
  EXPECT_EQ(name_of(RequestKind::kTrainStep), "train_step");
  EXPECT_EQ(name_of(Hook(ReallocHook{})), "param_realloc");
  EXPECT_EQ(name_of(Hook(ResidencyHook{.action = ResidencyHook::kOffload})), "offload");
}

TEST(Message, SaysWhichHooksMeetOtherWorkers) {
  EXPECT_TRUE(meets_other_workers(DataTransferHook{}));
  EXPECT_TRUE(meets_other_workers(ReallocHook{}));
  EXPECT_FALSE(meets_other_workers(ResidencyHook{}));
}

}  // namespace
}  // namespace orrery::comm
