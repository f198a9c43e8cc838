// Checkpoints in Hugging Face format with the numbers that transformers gives for them, on one
// worker and on layouts: every directory of tests/fixtures/hf, or of ORRERY_HF_DIR (README.md there
// says how close to be). Prints the largest differences.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "../base/temporary_folder.h"
#include "orrery/model/generator.h"
#include "orrery/model/hf_directory.h"
#include "orrery/model/safetensors.h"
#include "orrery/parallel/gradient_reduction.h"
#include "orrery/parallel/pipeline.h"
#include "orrery/parallel/whole_model.h"
#include "shards_for_test.h"
#include "support/thread_communicator.h"

namespace orrery::parallel {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

fs::path fixtures() {
  const char* chosen = std::getenv("ORRERY_HF_DIR");
  return chosen != nullptr ? fs::path(chosen) : fs::path(ORRERY_SOURCE_DIR) / "tests/fixtures/hf";
}

/// Every directory with expected numbers, by name.
std::vector<std::string> fixture_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fixtures())) {
    if (fs::exists(entry.path() / "expected.json")) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

using Sequences = std::vector<std::vector<int64_t>>;

model::PackedTokens pack(const Sequences& sequences) {
  std::vector<int64_t> tokens;
  std::vector<int32_t> lengths;
  for (const auto& ids : sequences) {
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    lengths.push_back(static_cast<int32_t>(ids.size()));
  }
  return model::pack_tokens(at::tensor(tokens, at::kLong), lengths);
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  if (a.numel() == 0) return 0;
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

struct Fixture {
  std::string name;
  fs::path path;
  json expected;
  model::SafetensorsFile numbers;
  model::Architecture architecture;
  Sequences sequences;

  explicit Fixture(const std::string& given)
      : name(given),
        path(fixtures() / given),
        expected(json::parse(std::ifstream(path / "expected.json"))),
        numbers(path / "expected.safetensors"),
        architecture(model::Architecture::from_hf_config(path / "config.json")) {
    for (const json& s : expected["sequences"]) {
      sequences.push_back(s["ids"].get<std::vector<int64_t>>());
    }
  }

  bool has(const std::string& tensor) const { return numbers.tensors().contains(tensor); }
  at::Tensor tensor(const std::string& tensor) const {
    at::Tensor values = at::empty(numbers.tensors().at(tensor).shape, at::kDouble);
    if (values.numel() > 0) numbers.read_into(tensor, values);
    return values;
  }
  std::string name_of(size_t sequence) const { return expected["sequences"][sequence]["name"]; }
  bool is_reward() const { return architecture.value_head; }
};

/// The bounds of the fixtures' README, by type.
struct Bounds {
  double logits, log_probs, loss, gradient;
};
constexpr Bounds kFp64{1e-10, 1e-10, 1e-12, 1e-6};  // gradients are stored in fp32
constexpr Bounds kFp32{3e-5, 3e-5, 5e-6, 2e-5};

/// Largest differences of one run.
struct Differences {
  double logits = 0, log_probs = 0, loss = 0, gradient = 0;
};

/// What all shards of a run write, under the mutex.
struct Gathered {
  std::mutex mutex;
  at::Tensor outputs;    // logits [T, V], or values [T]
  at::Tensor log_probs;  // [A]
  double loss = 0;
  model::Decoder gradients;  // its parameters are the gradients of the whole model

  explicit Gathered(const model::Architecture& a) : gradients(a, at::kDouble) {}
};

/// The loss of a data rank's share of the work, as the fixture divides it.
at::Tensor own_loss(const Fixture& fixture, model::Decoder& decoder,
                    const model::PackedTokens& packed, const at::Tensor& output, int data_rank,
                    int n_data) {
  if (!fixture.is_reward()) {
    return -decoder.head_log_probs(packed, output).sum() /
           fixture.expected["loss"]["n_tokens"].get<double>();
  }
  const at::Tensor values = decoder.head_values(packed, output);
  const json& pairs = fixture.expected["pairwise"]["pairs"];
  const auto reward = [&](size_t sequence) {
    return values[static_cast<int64_t>(packed.cu_seqlens[sequence + 1]) - 1];
  };
  at::Tensor loss = (values * 0).sum();
  for (size_t i = static_cast<size_t>(data_rank); i < pairs.size();
       i += static_cast<size_t>(n_data)) {
    loss = loss -
           at::log_sigmoid(reward(pairs[i][0].get<size_t>()) - reward(pairs[i][1].get<size_t>())) /
               static_cast<double>(pairs.size());
  }
  return loss;
}

void run_shard(const Fixture& fixture, at::ScalarType dtype, const graph::Degrees& degrees,
               comm::Communicator& all, Gathered& gathered) {
  TestShard shard(fixture.architecture, degrees, all, dtype);
  model::Decoder& decoder = *shard.decoder;
  decoder.parameters().values().zero_();
  model::load_hf_parameters(fixture.path, decoder);
  const bool is_last = shard.at.pipe == degrees.pipe - 1;
  {
    const at::NoGradGuard no_grad;
    const model::PackedTokens packed = pack(fixture.sequences);
    const at::Tensor outputs =
        fixture.is_reward() ? decoder.values(packed) : decoder.logits(packed);
    const at::Tensor log_probs = fixture.is_reward() ? at::Tensor() : decoder.log_probs(packed);
    const std::lock_guard lock(gathered.mutex);
    if (is_last) {
      gathered.outputs = outputs;
      gathered.log_probs = log_probs;
    }
  }
  // Two micro-batches, so that a pipeline is one; pairs of a reward model must be together.
  Sequences mine[2];
  for (size_t s = 0; s < fixture.sequences.size(); ++s) {
    const size_t n_data = static_cast<size_t>(degrees.data);
    if (fixture.is_reward()) {
      mine[0].push_back(fixture.sequences[s]);
    } else if (s % n_data == static_cast<size_t>(shard.at.data)) {
      mine[s / n_data % 2].push_back(fixture.sequences[s]);
    }
  }
  std::vector<model::PackedTokens> parts;
  for (const Sequences& part : mine) {
    if (!part.empty()) parts.push_back(pack(part));
  }
  decoder.parameters().gradients();
  double loss = 0;
  train_micro_batches(decoder, parts, [&](int i, const at::Tensor& output) {
    at::Tensor sum = own_loss(fixture, decoder, parts[static_cast<size_t>(i)], output,
                              shard.at.data, degrees.data);
    loss += sum.item<double>();
    return sum;
  });
  sum_shared_gradients(decoder, shard.groups);
  at::Tensor gradients = decoder.parameters().gradients();
  shard.groups.data->all_reduce(gradients, comm::ReduceOp::kSum);

  const std::lock_guard lock(gathered.mutex);
  if (is_last && shard.at.tensor == 0) gathered.loss += loss;
  place_parameters(decoder.parameters().table(), gradients.to(at::kDouble),
                   gathered.gradients.parameters());
}

/// A tensor of the checkpoint by its name, which may have the prefix of the model's body or not:
/// GPT-2's are written both ways.
std::string canonical(const model::SafetensorsDirectory& exported, const std::string& name) {
  const std::string prefix = "transformer.";
  if (exported.tensors().contains(name)) return name;
  return name.starts_with(prefix) ? name.substr(prefix.size()) : prefix + name;
}

/// Gradients in the tensors of the checkpoint: exported as if they were a model.
void compare_gradients(const Fixture& fixture, const Gathered& gathered, double bound,
                       Differences& found) {
  const TemporaryFolder folder;
  model::save_hf(folder.path() / "gradients", gathered.gradients);
  const model::SafetensorsDirectory exported(folder.path() / "gradients");
  double squares = 0;
  size_t n = 0;
  for (const auto& [name, stored] : fixture.numbers.tensors()) {
    if (!name.starts_with("grad.")) continue;
    const std::string tensor = canonical(exported, name.substr(5));
    const auto it = exported.tensors().find(tensor);
    if (it == exported.tensors().end()) {
      ADD_FAILURE() << "no gradient of " << tensor;
      continue;
    }
    const at::Tensor expected = fixture.tensor(name);
    at::Tensor got = at::empty(expected.sizes(), at::kDouble);
    it->second->read_into(tensor, got);
    const double norm = expected.norm().item<double>();
    const double difference = (got - expected).norm().item<double>();
    // A gradient that is zero by symmetry is rounding noise on both sides.
    const double relative = norm > 1e-12 ? difference / norm : difference;
    EXPECT_LT(relative, bound) << tensor;
    found.gradient = std::max(found.gradient, relative);
    squares += got.pow(2).sum().item<double>();
    ++n;
  }
  EXPECT_EQ(n, exported.tensors().size());
  EXPECT_NEAR(std::sqrt(squares) / fixture.expected["grad"]["global_norm"].get<double>(), 1, bound);
}

Differences compare(const Fixture& fixture, at::ScalarType dtype, const Bounds& bounds,
                    const graph::Degrees& degrees) {
  Gathered gathered(fixture.architecture);
  comm::run_as_threads(degrees.data * degrees.tensor * degrees.pipe, [&](comm::Communicator& all) {
    run_shard(fixture, dtype, degrees, all, gathered);
  });

  Differences found;
  int64_t row = 0, action = 0;
  for (size_t s = 0; s < fixture.sequences.size(); ++s) {
    const std::string name = fixture.name_of(s);
    const int64_t n = static_cast<int64_t>(fixture.sequences[s].size());
    const at::Tensor rows = gathered.outputs.narrow(0, row, n);
    const at::Tensor expected =
        fixture.tensor((fixture.is_reward() ? "scores." : "logits.") + name);
    found.logits = std::max(found.logits, largest_difference(rows, expected));
    if (fixture.is_reward()) {
      EXPECT_NEAR(rows[n - 1].item<double>(),
                  fixture.expected["sequences"][s]["reward"].get<double>(), bounds.logits);
    } else {
      found.log_probs =
          std::max(found.log_probs, largest_difference(gathered.log_probs.narrow(0, action, n - 1),
                                                       fixture.tensor("logprobs." + name)));
    }
    row += n;
    action += n - 1;
  }
  const json& loss = fixture.is_reward() ? fixture.expected["pairwise"]["loss"]
                                         : fixture.expected["loss"]["mean_nll"];
  found.loss = std::abs(gathered.loss - loss.get<double>());
  EXPECT_LT(found.logits, bounds.logits);
  EXPECT_LT(found.log_probs, bounds.log_probs);
  EXPECT_LT(found.loss, bounds.loss);
  compare_gradients(fixture, gathered, bounds.gradient, found);
  return found;
}

struct NamedLayout {
  const char* name;
  graph::Degrees degrees;
};
const NamedLayout kLayouts[] = {
    {"one", {.pipe = 1, .data = 1, .tensor = 1}},
    {"tp2", {.pipe = 1, .data = 1, .tensor = 2}},
    {"pp2", {.pipe = 2, .data = 1, .tensor = 1}},
    {"dp2tp2", {.pipe = 1, .data = 2, .tensor = 2}},
};

bool fits(const model::Architecture& a, const graph::Degrees& degrees) {
  return model::check_layout(a, {.tensor = degrees.tensor, .pipe = degrees.pipe}).empty();
}

class HfParity : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Fixtures, HfParity, testing::ValuesIn(fixture_names()),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           for (char& c : name) c = std::isalnum(c) ? c : '_';
                           return name;
                         });

TEST_P(HfParity, HasTheNumbersOfTransformersOnEveryLayout) {
  const Fixture fixture(GetParam());
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    const bool is_double = dtype == at::kDouble;
    for (const NamedLayout& layout : kLayouts) {
      SCOPED_TRACE(testing::Message() << layout.name << (is_double ? " fp64" : " fp32"));
      if (!fits(fixture.architecture, layout.degrees)) continue;
      const Differences found = compare(fixture, dtype, is_double ? kFp64 : kFp32, layout.degrees);
      std::printf("parity | %-16s | %s | %-6s | %.1e | %.1e | %.1e | %.1e |\n",
                  fixture.name.c_str(), is_double ? "fp64" : "fp32", layout.name, found.logits,
                  found.log_probs, found.loss, found.gradient);
    }
  }
}

/// The hidden states between layers, from stages of one layer each, one after another.
TEST_P(HfParity, HasTheHiddenStatesOfTransformers) {
  const Fixture fixture(GetParam());
  const at::NoGradGuard no_grad;
  const int n_layers = static_cast<int>(fixture.architecture.n_layers);
  for (size_t s = 0; s < fixture.sequences.size(); ++s) {
    const std::string prefix = "hidden." + fixture.name_of(s) + ".";
    if (!fixture.has(prefix + "final")) continue;
    const model::PackedTokens packed = pack({fixture.sequences[s]});
    at::Tensor rows;
    for (int layer = 0; layer < n_layers; ++layer) {
      model::Decoder stage(fixture.architecture, at::kDouble, c10::kCPU,
                           model::Shard{{.pipe = layer, .n_pipe = n_layers}});
      model::load_hf_parameters(fixture.path, stage);
      rows = stage.run_stage(packed, rows);
      const bool is_last = layer == n_layers - 1;
      const std::string name = is_last ? prefix + "final" : prefix + std::to_string(layer + 1);
      EXPECT_LT(largest_difference(rows, fixture.tensor(name)), 1e-10) << name;
    }
  }
}

/// What the routers choose, and the balance loss of each sequence alone.
TEST_P(HfParity, ChoosesTheExpertsOfTransformers) {
  const Fixture fixture(GetParam());
  const model::Architecture& a = fixture.architecture;
  if (a.experts.count == 0) return;
  model::Decoder decoder = model::load_hf(fixture.path, at::kDouble);
  for (size_t s = 0; s < fixture.sequences.size(); ++s) {
    const std::string name = fixture.name_of(s);
    const std::vector<model::Routing> routings = decoder.routings(pack({fixture.sequences[s]}));

    at::Tensor counts = at::zeros({a.experts.count}, at::kDouble), probabilities = counts.clone();
    int64_t n_rows = 0;
    for (size_t layer = 0; layer < routings.size(); ++layer) {
      const model::Routing& routing = routings[layer];
      if (!routing.index.defined()) continue;
      const std::string suffix = "." + name + "." + std::to_string(layer);
      if (fixture.has("router_weight" + suffix)) {
        EXPECT_LT(largest_difference(routing.weight, fixture.tensor("router_weight" + suffix)),
                  1e-10);
        const std::span<const std::byte> bytes = fixture.numbers.bytes("router_index" + suffix);
        EXPECT_EQ(std::memcmp(bytes.data(), routing.index.const_data_ptr(), bytes.size()), 0);
      }
      counts += at::bincount(routing.index.view({-1}), {}, a.experts.count);
      probabilities += routing.probabilities.sum(0);
      n_rows += routing.index.size(0);
    }
    const double rows = static_cast<double>(n_rows);
    const double loss = (counts / rows * (probabilities / rows)).sum().item<double>() *
                        static_cast<double>(a.experts.count);
    if (!fixture.expected.contains("router")) continue;
    EXPECT_NEAR(loss, fixture.expected["router"]["per_sequence_aux_loss"][s].get<double>(), 1e-6);
  }
}

TEST_P(HfParity, GeneratesTheTokensOfTransformersOnEveryLayout) {
  const Fixture fixture(GetParam());
  if (!fixture.expected.contains("generation")) return;
  const json& generation = fixture.expected["generation"];
  Sequences prompts;
  for (const json& c : generation["cases"]) prompts.push_back(c["prompt"]);
  model::GenerationOptions free{.max_new_tokens = generation["max_new_tokens"], .greedy = true};
  model::GenerationOptions stopping = free;
  stopping.stop_ids = fixture.architecture.eos_tokens;
  EXPECT_EQ(stopping.stop_ids, std::vector<int64_t>{generation["eos_token_id"].get<int64_t>()});
  const std::vector<model::SamplingKey> keys(prompts.size());
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const NamedLayout& layout : kLayouts) {
      SCOPED_TRACE(layout.name);
      if (layout.degrees.data > 1 || !fits(fixture.architecture, layout.degrees)) continue;
      std::mutex mutex;
      comm::run_as_threads(
          layout.degrees.tensor * layout.degrees.pipe, [&](comm::Communicator& all) {
            TestShard shard(fixture.architecture, layout.degrees, all, dtype);
            model::load_hf_parameters(fixture.path, *shard.decoder);
            const auto generate = [&](const model::GenerationOptions& options) {
              return model::Generator(*shard.decoder).generate(pack(prompts), keys, options);
            };
            const model::GenerationResult freely = generate(free), stopped = generate(stopping);

            const std::lock_guard lock(mutex);
            for (size_t i = 0; i < prompts.size(); ++i) {
              const json& c = generation["cases"][i];
              EXPECT_EQ(freely.sequences[i].tokens, c["no_eos"].get<std::vector<int64_t>>());
              EXPECT_EQ(stopped.sequences[i].tokens, c["with_eos"].get<std::vector<int64_t>>());
              EXPECT_EQ(stopped.sequences[i].finish == model::Finish::kStop,
                        c["stopped_by"] == "eos");
            }
          });
    }
  }
}

/// What we write, we read back the same; what transformers makes of it: tools/check_export.py.
TEST_P(HfParity, GivesBackTheSameModelInShardsOfAFewKilobytes) {
  const Fixture fixture(GetParam());
  model::Decoder decoder = model::load_hf(fixture.path, at::kFloat);
  const TemporaryFolder folder;

  model::save_hf(folder.path() / "model", decoder, {.max_file_bytes = 20'000});
  const model::Decoder again = model::load_hf(folder.path() / "model", at::kFloat);

  EXPECT_TRUE(fs::exists(folder.path() / "model" / "model.safetensors.index.json"));
  EXPECT_EQ(again.architecture(), decoder.architecture());
  EXPECT_TRUE(at::equal(again.parameters().values(), decoder.parameters().values()));
}

TEST(HfParityFixtures, AreThere) { EXPECT_FALSE(fixture_names().empty()) << fixtures(); }

}  // namespace
}  // namespace orrery::parallel
