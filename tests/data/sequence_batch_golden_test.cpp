// Bookkeeping of batches against the recorded cases. Ids are texts there and handles here: a table
// gives each text its handle.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "golden_file.h"
#include "orrery/base/error.h"
#include "orrery/data/partition.h"
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

DType dtype_of_name(const json& name) {
  const std::optional<DType> dtype = parse_dtype(name.get<std::string>());
  if (!dtype) golden::throw_problem("no type " + name.dump());
  return *dtype;
}

/// As many rows as the numbers fill, whatever the lengths say.
at::Tensor tensor_of(const json& flat, const KeyMetadata& key) {
  const std::vector<double> values = golden::doubles(flat);
  int64_t width = 1;
  for (const int64_t extent : key.trailing_shape) width *= extent;
  std::vector<int64_t> shape = {width == 0 ? 0 : static_cast<int64_t>(values.size()) / width};
  shape.insert(shape.end(), key.trailing_shape.begin(), key.trailing_shape.end());
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
      described.dtype = dtype_of_name(sample.at("dtypes").at(key));
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

/// To the last bit; NaN equals NaN.
bool are_equal(const at::Tensor& one, const at::Tensor& two) {
  if (!one.is_floating_point()) return at::equal(one, two);
  return one.sizes() == two.sizes() && one.scalar_type() == two.scalar_type() &&
         at::allclose(one, two, 0, 0, /*equal_nan=*/true);
}

void expect_equal(const SequenceBatch& batch, const json& expected_json) {
  const SequenceBatch expected = batch_of(expected_json);
  EXPECT_NO_THROW(batch.check());
  EXPECT_EQ(batch.meta.ids, expected.meta.ids);
  EXPECT_EQ(batch.meta.keys.size(), expected.meta.keys.size());
  for (const KeyMetadata& key : expected.meta.keys) {
    ASSERT_TRUE(batch.meta.contains(key.key)) << key.key;
    EXPECT_EQ(batch.meta.at(key.key), key) << key.key;
    ASSERT_EQ(batch.has_data(key.key), expected.has_data(key.key)) << key.key;
    if (expected.has_data(key.key)) {
      EXPECT_TRUE(are_equal(batch.at(key.key), expected.at(key.key))) << key.key;
    }
  }
  // An empty part has its extras as empty lists, which batch_of cannot see in the files.
  for (const auto& [name, texts] : expected.meta.extra) {
    ASSERT_TRUE(batch.meta.extra.contains(name)) << name;
    EXPECT_EQ(batch.meta.extra.at(name), texts);
  }
  for (const auto& [name, texts] : batch.meta.extra) {
    EXPECT_TRUE(expected_json.contains("metadata") && expected_json.at("metadata").contains(name))
        << name;
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
  for (std::size_t i = 0; i < parts.size(); ++i) expect_equal(parts[i], expected.at(i));
}

std::vector<SequenceBatch> inputs_of(const Case& item) {
  std::vector<SequenceBatch> inputs;
  for (const json& sample : item["inputs"]) inputs.push_back(batch_of(sample));
  return inputs;
}

/// The limit of a micro-batch; missing or null: none.
int64_t token_limit(const json& args) {
  const auto found = args.find("max_tokens_per_mb");
  return found == args.end() || found->is_null() ? kNoCapacity : golden::to_int64(*found);
}

bool is_given(const json& args, const char* field) {
  return args.contains(field) && !args.at(field).is_null();
}

SplitSpec spec_of(const json& args) {
  SplitSpec spec;
  if (is_given(args, "sizes")) spec.sizes = args.at("sizes").get<std::vector<int>>();
  if (is_given(args, "partitions")) {
    spec.ranges.emplace();
    for (const json& range : args.at("partitions"))
      spec.ranges->push_back({range.at(0), range.at(1)});
  }
  return spec;
}

void check_unpack(const Case& item) {
  const SequenceBatch batch = inputs_of(item).at(0);
  expect_samples(batch.split({.sizes = std::vector<int>(batch.size(), 1), .ranges = std::nullopt}),
                 item);
}

void check_gather(const Case& item) {
  std::optional<std::vector<std::string>> keys;
  if (is_given(item["args"], "keys"))
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

/// What the batch weighs in the key that the reference counts in: the one with the largest grand
/// total, the first on a tie.
std::vector<int64_t> weights_of(const SequenceBatch& batch) {
  const KeyMetadata* largest = nullptr;
  for (const KeyMetadata& key : batch.meta.keys) {
    if (largest == nullptr || key.lengths.grand_total() > largest->lengths.grand_total()) {
      largest = &key;
    }
  }
  std::vector<int64_t> weights;
  for (std::size_t i = 0; i < batch.size(); ++i) weights.push_back(largest->lengths.total(i));
  return weights;
}

using Parts = std::vector<std::vector<int>>;

/// The recorded order of the samples, and the place of each in it.
void expect_order(const Parts& parts, const Case& item) {
  std::vector<int> forward;
  for (const std::vector<int>& part : parts) {
    forward.insert(forward.end(), part.begin(), part.end());
  }
  std::vector<int> backward(forward.size());
  for (std::size_t place = 0; place < forward.size(); ++place) {
    backward.at(static_cast<std::size_t>(forward[place])) = static_cast<int>(place);
  }
  EXPECT_EQ(forward, item.expect().at("forward_indices").get<std::vector<int>>());
  EXPECT_EQ(backward, item.expect().at("backward_indices").get<std::vector<int>>());
}

/// As the train engine cuts micro-batches: a plan by weights, then these samples.
void check_split(const Case& item) {
  const json& args = item["args"];
  const SequenceBatch batch = inputs_of(item).at(0);
  const Parts plan = plan_token_split(
      weights_of(batch), {.min_parts = args.at("n_mbs"), .max_tokens = token_limit(args)});
  std::vector<SequenceBatch> parts;
  for (const std::vector<int>& part : plan) parts.push_back(batch.select_samples(part));
  expect_order(plan, item);
  expect_samples(parts, item);
}

void check_split_with_lengths(const Case& item) {
  const json& args = item["args"];
  const SequenceBatch batch = inputs_of(item).at(0);
  const Parts plan =
      plan_token_split(golden::integers(args.at("lens")),
                       {.min_parts = args.at("n_mbs"), .max_tokens = token_limit(args)});
  expect_order(plan, item);
  ASSERT_EQ(plan.size(), item.expect().at("sizes").size());
  for (std::size_t i = 0; i < plan.size(); ++i) {
    const SequenceBatch part = batch.select_samples(plan[i]);
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

void check_construct(const Case& item) {
  const json& args = item["args"];
  SequenceBatch batch = batch_of(args);
  if (is_given(args, "data_shapes")) {
    for (const auto& [key, shape] : args.at("data_shapes").items()) {
      const DType dtype = dtype_of_name(args.at("data_dtypes").at(key));
      batch.data[key] = at::zeros(golden::integers(shape), scalar_type(dtype));
    }
  }
  batch.check();
  EXPECT_EQ(batch.size(), item.expect().at("bs").get<std::size_t>());
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
    {"unpack", check_unpack},
    {"select",
     [](const Case& item) {
       const auto keys = item["args"].at("keys").get<std::vector<std::string>>();
       expect_sample(inputs_of(item).at(0).select(keys), item);
     }},
    {"meta",
     [](const Case& item) {
       expect_sample(SequenceBatch{.meta = inputs_of(item).at(0).meta, .data = {}}, item);
     }},
    {"remap",
     [](const Case& item) {
       const auto names = item["args"].at("remap").get<std::map<std::string, std::string>>();
       expect_sample(inputs_of(item).at(0).remap(names), item);
     }},
    {"construct", check_construct},
    {"ppo_minibatch_sizes", check_minibatch_sizes},
};

/// Operations that nothing here needs: what came in another order is not put back, results are not
/// merged into the batch that they were made of, and interfaces state the lengths of their keys.
std::string missing_operation(const Case& item) {
  const std::string op = item["op"].get<std::string>();
  return kChecks.contains(op) ? "" : "there is no operation " + op;
}

TEST(SequenceBatchGolden, BehavesAsRecorded) {
  golden::for_each_case("sequence_sample.json", "cases",
                        [](const Case& item) { kChecks.at(item["op"].get<std::string>())(item); },
                        {.quirks = kQuirks, .leave_out_if = missing_operation});
}

}  // namespace
}  // namespace orrery::data
