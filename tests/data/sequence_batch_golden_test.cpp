// Bookkeeping of batches against the recorded cases. Ids are texts there and handles here: a table
// gives each text its handle.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/data/sequence_batch.h"

namespace orrery::data {
namespace {

using golden::Case;
using golden::Quirk;
using nlohmann::json;

const golden::QuirkChoices kQuirks = {
    {"empty-part-accepted", {Quirk::kAsReference, "sizes may hold a 0, ranges may not be empty"}},
    {"tail-dropped", {Quirk::kOurs, "a split that does not cover the batch is an error"}},
};

SampleId handle_of(const json& id) {
  static std::map<std::string, uint64_t> handles;
  const std::string text = id.is_string() ? id.get<std::string>() : id.dump();
  return {handles.try_emplace(text, handles.size() + 1).first->second};
}

NestedLengths lengths_of(const json& samples) {
  NestedLengths lengths;
  for (const json& sample : samples) lengths.add_sample(golden::int32s(sample));
  return lengths;
}

at::Tensor tensor_of(const json& flat, const KeyMetadata& key) {
  std::vector<int64_t> shape = {key.lengths.grand_total()};
  shape.insert(shape.end(), key.trailing_shape.begin(), key.trailing_shape.end());
  const std::vector<double> values = golden::doubles(flat);
  return at::tensor(values, at::kDouble).view(shape).to(scalar_type(key.dtype));
}

/// Whether `sample[table].at(key)` is there and not null.
bool is_given(const json& sample, const char* table, const std::string& key) {
  return sample.contains(table) && sample[table].is_object() && sample[table].contains(key) &&
         !sample[table].at(key).is_null();
}

/// A sample as the files write it. `keys` gives the order, if it is there.
SequenceBatch batch_of(const json& sample) {
  SequenceBatch batch;
  for (const json& id : sample.at("ids")) batch.meta.ids.push_back(handle_of(id));
  for (const json& name : sample.at("keys")) {
    const std::string key = name;
    if (batch.meta.contains(key)) continue;  // the files' lists of keys are sets
    KeyMetadata described{.key = key, .dtype = DType::kF32, .trailing_shape = {}, .lengths = {}};
    // A key without data has no type and shape there.
    if (is_given(sample, "dtypes", key)) {
      described.dtype = parse_dtype(sample.at("dtypes").at(key).get<std::string>()).value();
    }
    if (is_given(sample, "trailing_shapes", key)) {
      described.trailing_shape = golden::integers(sample.at("trailing_shapes").at(key));
    }
    if (is_given(sample, "seqlens", key))
      described.lengths = lengths_of(sample.at("seqlens").at(key));
    if (is_given(sample, "data", key)) {
      batch.data[key] = tensor_of(sample.at("data").at(key), described);
    }
    batch.meta.keys.push_back(std::move(described));
  }
  if (sample.contains("metadata")) {
    for (const auto& [name, values] : sample.at("metadata").items()) {
      for (const json& value : values) batch.meta.extra[name].push_back(value.dump());
    }
  }
  return batch;
}

void expect_equal(const SequenceBatch& batch, const json& expected_json) {
  const SequenceBatch expected = batch_of(expected_json);
  EXPECT_NO_THROW(batch.check());
  EXPECT_EQ(batch.meta.ids, expected.meta.ids);
  EXPECT_EQ(batch.meta.keys.size(), expected.meta.keys.size());
  for (const KeyMetadata& key : expected.meta.keys) {
    EXPECT_EQ(batch.meta.at(key.key), key) << key.key;
    ASSERT_EQ(batch.has_data(key.key), expected.has_data(key.key)) << key.key;
    if (expected.has_data(key.key)) {
      EXPECT_TRUE(at::equal(batch.at(key.key), expected.at(key.key))) << key.key;
    }
  }
  // An empty part has its extras as empty lists, which batch_of cannot see in the files.
  for (const auto& [name, texts] : expected.meta.extra) EXPECT_EQ(batch.meta.extra.at(name), texts);
  for (const auto& [name, texts] : batch.meta.extra) {
    EXPECT_TRUE(expected_json.at("metadata").contains(name)) << name;
  }
}

// These take the case, not what it expects: a case that expects an error has no sample, and the
// call under test must be made before that is noticed.
void expect_sample(const SequenceBatch& batch, const Case& item) {
  expect_equal(batch, item.expect().at("sample"));
}

void expect_samples(const std::vector<SequenceBatch>& parts, const Case& item) {
  const json& expected = item.expect().at("samples");
  ASSERT_EQ(parts.size(), expected.size());
  for (std::size_t i = 0; i < parts.size(); ++i) expect_equal(parts[i], expected[i]);
}

std::vector<SequenceBatch> inputs_of(const Case& item) {
  std::vector<SequenceBatch> inputs;
  for (const json& sample : item["inputs"]) inputs.push_back(batch_of(sample));
  return inputs;
}

SplitSpec spec_of(const json& args) {
  SplitSpec spec;
  if (args.contains("sizes")) spec.sizes = args.at("sizes").get<std::vector<int>>();
  if (args.contains("partitions")) {
    spec.ranges.emplace();
    for (const json& range : args.at("partitions"))
      spec.ranges->push_back({range.at(0), range.at(1)});
  }
  return spec;
}

void check_gather(const Case& item) {
  std::optional<std::vector<std::string>> keys;
  if (!item["args"].at("keys").is_null())
    keys = item["args"].at("keys").get<std::vector<std::string>>();
  expect_sample(gather(inputs_of(item), keys), item);
}

void check_split_with_spec(const Case& item) {
  const SequenceBatch batch = inputs_of(item).at(0);
  if (item.choice == Quirk::kOurs) {
    EXPECT_THROW(batch.split(spec_of(item["args"])), CallError);
    return;
  }
  expect_samples(batch.split(spec_of(item["args"])), item);
}

void check_split(const Case& item) {
  const json& args = item["args"];
  const MicroBatches split = split_by_token_budget(
      inputs_of(item).at(0), {.min_parts = args.at("n_mbs"),
                              .max_tokens = golden::to_int64(args.at("max_tokens_per_mb"))});
  EXPECT_EQ(split.plan.split_key, item.expect().at("split_key").get<std::string>());
  EXPECT_EQ(split.plan.forward, item.expect().at("forward_indices").get<std::vector<int>>());
  EXPECT_EQ(split.plan.backward, item.expect().at("backward_indices").get<std::vector<int>>());
  expect_samples(split.parts, item);
}

void check_split_with_lengths(const Case& item) {
  const json& args = item["args"];
  const SequenceBatch batch = inputs_of(item).at(0);
  const TokenSplit plan =
      plan_token_split(golden::integers(args.at("lens")),
                       {.min_parts = args.at("n_mbs"), .max_tokens = kNoCapacity});
  EXPECT_EQ(plan.forward, item.expect().at("forward_indices").get<std::vector<int>>());
  EXPECT_EQ(plan.backward, item.expect().at("backward_indices").get<std::vector<int>>());
  ASSERT_EQ(plan.parts.size(), item.expect().at("sizes").size());
  for (std::size_t i = 0; i < plan.parts.size(); ++i) {
    const SequenceBatch part = batch.select_samples(plan.parts[i]);
    EXPECT_NO_THROW(part.check());
    EXPECT_EQ(static_cast<int>(part.size()), item.expect().at("sizes").at(i).get<int>());
    std::vector<SampleId> ids;
    for (const json& id : item.expect().at("ids").at(i)) ids.push_back(handle_of(id));
    EXPECT_EQ(part.meta.ids, ids);
  }
}

void check_reorder(const Case& item) {
  const auto order = item["args"].at("indices").get<std::vector<int>>();
  expect_sample(inputs_of(item).at(0).reorder(order), item);
}

void check_restore_order(const Case& item) {
  const json& args = item["args"];
  const at::Tensor x = at::tensor(golden::floats(args.at("x")));
  const auto forward = args.at("forward_indices").get<std::vector<int>>();
  const at::Tensor restored = restore_order(x, lengths_of(args.at("expected_seqlens")), forward);
  EXPECT_TRUE(at::equal(restored, at::tensor(golden::floats(item.expect().at("x")))));
}

void check_update(const Case& item) {
  const std::vector<SequenceBatch> inputs = inputs_of(item);
  SequenceBatch batch = inputs.at(0);
  batch.update(inputs.at(1));
  expect_sample(batch, item);
}

void check_construct(const Case& item) {
  const json& args = item["args"];
  SequenceBatch batch = batch_of(args);
  if (!args.at("data_shapes").is_null()) {
    for (const auto& [key, shape] : args.at("data_shapes").items()) {
      const DType dtype = parse_dtype(args.at("data_dtypes").at(key).get<std::string>()).value();
      batch.data[key] = at::zeros(golden::integers(shape), scalar_type(dtype));
    }
  }
  batch.check();
  EXPECT_EQ(batch.size(), item.expect().at("bs").get<std::size_t>());
}

void check_default_lengths(const Case& item) {
  const json& args = item["args"];
  const NestedLengths tokens = NestedLengths::of_single(golden::int32s(args.at("seqlens")));
  const NestedLengths lengths = default_lengths(args.at("key").get<std::string>(), tokens);
  EXPECT_EQ(lengths, lengths_of(item.expect().at("seqlens")));
}

void check_minibatch_sizes(const Case& item) {
  EXPECT_EQ(minibatch_sizes(item["args"].at("bs"), item["args"].at("n_minibatches")),
            item.expect().at("sizes").get<std::vector<int>>());
}

const std::map<std::string, void (*)(const Case&)> kChecks = {
    {"gather", check_gather},
    {"split_with_spec", check_split_with_spec},
    {"split", check_split},
    {"split_with_lengths", check_split_with_lengths},
    {"reorder", check_reorder},
    {"reorder_output", check_restore_order},
    {"unpack", [](const Case& item) { expect_samples(inputs_of(item).at(0).unpack(), item); }},
    {"select",
     [](const Case& item) {
       const auto keys = item["args"].at("keys").get<std::vector<std::string>>();
       expect_sample(inputs_of(item).at(0).select(keys), item);
     }},
    {"meta",
     [](const Case& item) {
       expect_sample(SequenceBatch{.meta = inputs_of(item).at(0).meta, .data = {}}, item);
     }},
    {"update", check_update},
    {"remap",
     [](const Case& item) {
       const auto names = item["args"].at("remap").get<std::map<std::string, std::string>>();
       expect_sample(inputs_of(item).at(0).remap(names), item);
     }},
    {"default_seqlens", check_default_lengths},
    {"construct", check_construct},
    {"ppo_minibatch_sizes", check_minibatch_sizes},
};

TEST(SequenceBatchGolden, BehavesAsRecorded) {
  golden::for_each_case("sequence_sample.json", "cases",
                        [](const Case& item) {
                          const auto check = kChecks.at(item["op"].get<std::string>());
                          if (item.expects_error()) {
                            EXPECT_THROW(check(item), Error);
                          } else {
                            check(item);
                          }
                        },
                        {.quirks = kQuirks, .left_out = {}, .leave_out_if = {}});
}

}  // namespace
}  // namespace orrery::data
