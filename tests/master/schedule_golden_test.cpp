// Sequence buffer (master_schedule.json), step numbers and frequency controls (steps.json) against
// golden vectors. The graph sections of master_schedule.json are graph's tests.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/master/frequency_control.h"
#include "orrery/master/key_table.h"
#include "orrery/master/sequence_buffer.h"
#include "orrery/master/step_clock.h"

namespace orrery::master {
namespace {

using golden::Case;
using nlohmann::json;

/// A buffer for the calls of a case, addressed by names.
class NamedBuffer {
 public:
  explicit NamedBuffer(const Case& c) : buffer_(0, 0, {}) {
    std::vector<SequenceBuffer::Reader> readers;
    for (const json& call : c["calls"]) {
      calls_.push_back(call["name"]);
      readers.push_back({numbers(call["input_keys"]), call["n_seqs"].get<int64_t>()});
      numbers(call["output_keys"]);
    }
    buffer_ = SequenceBuffer(c["max_size"].get<int>(), keys_.size(), readers);
  }

  void run(const json& event) {
    const json& expect = event["expect"];
    const std::string op = event["op"];
    if (op == "put") {
      std::vector<data::SampleId> ids;
      for (const json& name : event["ids"]) ids.push_back(id(name));
      const auto births = event["birth_times"].get<std::vector<int64_t>>();
      if (expect.contains("error")) {
        EXPECT_THROW(buffer_.put(ids, numbers(event["keys"]), births), CallError);
        return;
      }
      EXPECT_EQ(json(buffer_.put(ids, numbers(event["keys"]), births)), expect["rows"]);
    } else if (op == "amend") {
      buffer_.amend(event["rows"].get<std::vector<int>>(), numbers(event["keys"]));
    } else {
      ASSERT_EQ(op, "get");
      get(event["call"], expect);
    }
    EXPECT_EQ(buffer_.size(), expect["size"].get<int>());
    EXPECT_EQ(ready(), expect["ready"].get<std::vector<std::string>>());
  }

 private:
  void get(const std::string& call, const json& expect) {
    const auto number = std::find(calls_.begin(), calls_.end(), call) - calls_.begin();
    const std::vector<int> rows = buffer_.take(static_cast<int>(number)).rows;
    EXPECT_EQ(json(rows), expect["rows"]);
    json ids = json::array();
    for (const int row : rows) ids.push_back(names_[buffer_.id(row).value]);
    EXPECT_EQ(ids, expect["ids"]);
  }

  std::vector<std::string> ready() const {
    std::vector<std::string> names;
    for (size_t call = 0; call < calls_.size(); ++call) {
      if (buffer_.is_ready(static_cast<int>(call))) names.push_back(calls_[call]);
    }
    return names;
  }

  std::vector<int> numbers(const json& names) {
    std::vector<int> result;
    for (const json& name : names) result.push_back(keys_.intern(name.get<std::string>()));
    return result;
  }

  data::SampleId id(const std::string& name) {
    names_.push_back(name);
    return {names_.size() - 1};
  }

  KeyTable keys_;
  std::vector<std::string> calls_;
  std::vector<std::string> names_;  // by sample id
  SequenceBuffer buffer_;
};

TEST(BufferGolden, EveryEventMatches) {
  golden::for_each_case("master_schedule.json", "buffer", [](const Case& c) {
    NamedBuffer buffer(c);
    int place = 0;
    for (const json& event : c["events"]) {
      SCOPED_TRACE("event " + std::to_string(place++));
      buffer.run(event);
    }
  });
}

/// `epoch2epochstep5globalstep15`, as the reference names a save.
std::string save_name(const StepNumbers& numbers) {
  return "epoch" + std::to_string(numbers.epoch + 1) + "epochstep" +
         std::to_string(numbers.epoch_step + 1) + "globalstep" + std::to_string(numbers.step + 1);
}

// The reference counts the epoch up only after the first step of an epoch, so it names that step
// as a further one of the epoch before (`is_new_epoch`). Here it is the first step of its epoch.
TEST(StepsGolden, TrainingLoopMatches) {
  golden::for_each_case("steps.json", "training_loop", [](const Case& c) {
    const auto samples = c["train_batch_size"].get<int64_t>();
    const auto dataset = c["dataset_size"].get<int64_t>();
    const json& expect = c.expect();
    FrequencyControl control(
        {.every_steps = c.has("freq_step") ? c["freq_step"].get<int64_t>() : 0,
         .every_epochs = c.has("freq_epoch") ? c["freq_epoch"].get<int64_t>() : 0});

    EXPECT_EQ(steps_of_epochs(c["total_train_epochs"].get<int64_t>(), samples, dataset),
              expect["total_train_steps"].get<int64_t>());
    int64_t step = 0;
    int64_t epochs_begun = 0;
    for (const json& entry : expect["trace"]) {
      SCOPED_TRACE("step " + std::to_string(step));
      const StepNumbers got = step_numbers(step++, samples, dataset);
      EXPECT_EQ(got.step, entry["global_step"].get<int64_t>());
      EXPECT_EQ(got.ends_epoch, entry["is_epoch_last_step"].get<bool>());
      EXPECT_EQ(control.check({.steps = 1, .epochs = got.ends_epoch ? 1 : 0}),
                entry["fires"].get<bool>());
      if (entry["is_new_epoch"].get<bool>()) {
        EXPECT_EQ(got.epoch, ++epochs_begun);
        EXPECT_EQ(got.epoch_step, 0);
      } else {
        EXPECT_EQ(got.epoch, entry["epoch"].get<int64_t>());
        EXPECT_EQ(got.epoch_step, entry["epoch_step"].get<int64_t>());
        EXPECT_EQ(save_name(got), entry["save_dir_name"].get<std::string>());
      }
    }
    EXPECT_EQ(step, expect["final"]["global_step"].get<int64_t>());
  });
}

TEST(StepsGolden, FrequencyControlMatches) {
  golden::for_each_case("steps.json", "frequency_control", [](const Case& c) {
    FrequencyControl control(
        {.every_steps = c.has("frequency_steps") ? c["frequency_steps"].get<int64_t>() : 0,
         .at_first_check = c["initial_value"].get<bool>()});

    std::vector<bool> fires;
    for (const json& steps : c["steps"]) fires.push_back(control.check({.steps = steps}));

    EXPECT_EQ(fires, c.expect()["fires"].get<std::vector<bool>>());
  });
}

}  // namespace
}  // namespace orrery::master
