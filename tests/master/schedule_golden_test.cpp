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

bool is_in(const json& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// A buffer for the calls of a case, addressed by names.
class NamedBuffer {
 public:
  NamedBuffer(const json& calls, int n_rows) : buffer_(0, 0, {}) {
    std::vector<SequenceBuffer::Reader> readers;
    for (const json& call : calls) {
      calls_.push_back(call.at("name"));
      readers.push_back({numbers(call.at("input_keys")), call.value("n_seqs", int64_t{1})});
      outputs_.push_back(numbers(call.at("output_keys")));
    }
    buffer_ = SequenceBuffer(n_rows, keys_.size(), readers);
  }

  void put_one(const json& keys) {
    const std::vector<data::SampleId> ids = {id("sample")};
    buffer_.put(ids, numbers(keys), std::vector<int64_t>{0});
  }

  /// Reads the one sample and adds the call's outputs, unless nobody is left to read them.
  void run_call(const std::string& name) {
    const auto number =
        static_cast<size_t>(std::find(calls_.begin(), calls_.end(), name) - calls_.begin());
    const std::vector<int> rows = buffer_.take(static_cast<int>(number)).rows;
    if (buffer_.size() > 0 && !outputs_[number].empty()) buffer_.amend(rows, outputs_[number]);
  }

  std::vector<std::string> ready() const {
    std::vector<std::string> names;
    for (size_t call = 0; call < calls_.size(); ++call) {
      if (buffer_.is_ready(static_cast<int>(call))) names.push_back(calls_[call]);
    }
    return names;
  }

  void run(const json& event) {
    const json& expect = event.at("expect");
    if (expect.contains("error")) {
      EXPECT_THROW(run_operation(event), Error);
      return;
    }
    const json got = run_operation(event);
    for (const auto& [field, value] : got.items()) EXPECT_EQ(value, expect.at(field)) << field;
    EXPECT_EQ(buffer_.size(), expect.at("size").get<int>());
    EXPECT_EQ(ready(), expect.at("ready").get<std::vector<std::string>>());
  }

 private:
  /// What the operation gives, by field of `expect`.
  json run_operation(const json& event) {
    const std::string op = event.at("op");
    if (op == "put") {
      std::vector<data::SampleId> ids;
      for (const json& name : event.at("ids")) ids.push_back(id(name));
      const auto births = event.at("birth_times").get<std::vector<int64_t>>();
      return {{"rows", buffer_.put(ids, numbers(event.at("keys")), births)}};
    }
    if (op == "amend") {
      buffer_.amend(event.at("rows").get<std::vector<int>>(), numbers(event.at("keys")));
      return json::object();
    }
    EXPECT_EQ(op, "get");
    const std::string call = event.at("call");
    const auto number = std::find(calls_.begin(), calls_.end(), call) - calls_.begin();
    const std::vector<int> rows = buffer_.take(static_cast<int>(number)).rows;
    json ids = json::array();
    for (const int row : rows) ids.push_back(names_.at(buffer_.id(row).value));
    return {{"rows", rows}, {"ids", ids}};
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
  std::vector<std::vector<int>> outputs_;  // [calls] keys
  std::vector<std::string> names_;         // by sample id
  SequenceBuffer buffer_;
};

TEST(BufferGolden, EveryEventMatches) {
  golden::for_each_case("master_schedule.json", "buffer", [](const Case& c) {
    NamedBuffer buffer(c["calls"], c["max_size"].get<int>());
    int place = 0;
    for (const json& event : c["events"]) {
      SCOPED_TRACE("event " + std::to_string(place++));
      buffer.run(event);
    }
  });
}

/// Goes through every set of finished calls: one sample, which has the dataset's keys and what the
/// finished calls have made.
TEST(BufferGolden, CallsAreReadyWhenTheirInputsAreThere) {
  golden::for_each_case("master_schedule.json", "graphs", [](const Case& c) {
    json calls = c["calls"];
    for (json& call : calls) call["n_seqs"] = 1;
    for (const json& set : c.expect().at("ready_sets")) {
      SCOPED_TRACE(set.dump());
      NamedBuffer buffer(calls, 1);
      buffer.put_one(c.expect().at("dataset_keys"));
      for (bool any = true; any;) {
        any = false;
        for (const std::string& name : buffer.ready()) {
          if (!is_in(set.at("finished"), name)) continue;
          buffer.run_call(name);
          any = true;
        }
      }
      EXPECT_EQ(buffer.ready(), set.at("ready").get<std::vector<std::string>>());
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
    const golden::Fields& expect = c.expect();
    FrequencyControl control(
        {.every_steps = c.has("freq_step") ? c["freq_step"].get<int64_t>() : 0,
         .every_epochs = c.has("freq_epoch") ? c["freq_epoch"].get<int64_t>() : 0});

    EXPECT_EQ(steps_of_epochs(c["total_train_epochs"].get<int64_t>(), samples, dataset),
              expect.at("total_train_steps").get<int64_t>());
    int64_t step = 0;
    int64_t epochs_begun = 0;
    for (const json& entry : expect.at("trace")) {
      SCOPED_TRACE("step " + std::to_string(step));
      const StepNumbers got = step_numbers(step++, samples, dataset);
      EXPECT_EQ(got.step, entry.at("global_step").get<int64_t>());
      EXPECT_EQ(got.ends_epoch, entry.at("is_epoch_last_step").get<bool>());
      EXPECT_EQ(control.check({.steps = 1, .epochs = got.ends_epoch ? 1 : 0}),
                entry.at("fires").get<bool>());
      if (entry.at("is_new_epoch").get<bool>()) {
        EXPECT_EQ(got.epoch, ++epochs_begun);
        EXPECT_EQ(got.epoch_step, 0);
      } else {
        EXPECT_EQ(got.epoch, entry.at("epoch").get<int64_t>());
        EXPECT_EQ(got.epoch_step, entry.at("epoch_step").get<int64_t>());
        EXPECT_EQ(save_name(got), entry.at("save_dir_name").get<std::string>());
      }
    }
    EXPECT_EQ(step, expect.at("final").at("global_step").get<int64_t>());
  });
}

TEST(StepsGolden, FrequencyControlMatches) {
  golden::for_each_case("steps.json", "frequency_control", [](const Case& c) {
    FrequencyControl control(
        {.every_steps = c.has("frequency_steps") ? c["frequency_steps"].get<int64_t>() : 0,
         .at_first_check = c["initial_value"].get<bool>()});

    std::vector<bool> fires;
    for (const json& steps : c["steps"]) fires.push_back(control.check({.steps = steps}));

    EXPECT_EQ(fires, c.expect().at("fires").get<std::vector<bool>>());
  });
}

}  // namespace
}  // namespace orrery::master
