// The memory that loading a model directory takes at its height: the parameters of the shard and
// less than its largest tensor more, whatever the file's type and however the shard is cut.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <malloc.h>  // malloc_trim

#include <algorithm>
#include <fstream>
#include <string>

#include "orrery/model/hf_directory.h"
#include "orrery/model/safetensors.h"
#include "temporary_directory.h"

namespace orrery::model {
namespace {

constexpr int64_t kMiB = 1 << 20;

/// The address sanitizer holds freed blocks back for a while: how much was needed at a time cannot
/// be told from what the process holds.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kKeepsFreedMemory = true;
#else
constexpr bool kKeepsFreedMemory = false;
#endif

/// 71 MB of parameters in fp32; the largest tensor is 8 MB.
Architecture large_enough_to_measure() {
  Architecture a;
  a.vocab_size = 4096;
  a.hidden_size = 512;
  a.intermediate_size = 1536;
  a.n_layers = 4;
  a.n_heads = a.n_kv_heads = 8;
  a.head_dim = 64;
  a.max_positions = 128;
  return a;
}

/// A line of /proc/self/status in bytes, such as VmHWM.
int64_t status_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != field + ":") continue;
    int64_t kibibytes = 0;
    status >> kibibytes;
    return kibibytes * 1024;
  }
  return -1;
}

/// Makes the highest memory so far the present one. False: not allowed here.
bool forget_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

int64_t bytes_of(const Decoder& decoder) {
  return static_cast<int64_t>(decoder.parameters().values().nbytes());
}

struct LoadMemory : testing::Test {
  TemporaryDirectory directory;

  void expect_little_more_than_the_shard(const ShardPlace& place) {
    const Architecture a = Architecture::from_hf_config(directory.path() / "model/config.json");
    malloc_trim(0);  // what earlier tests have given back must not leave meanwhile
    if (!forget_peak()) GTEST_SKIP() << "SKIPPED: /proc/self/clear_refs cannot be written here";
    const int64_t before = status_bytes("VmRSS");

    Decoder decoder(a, at::kFloat, c10::kCPU, {.place = place});
    load_hf_parameters(directory.path() / "model", decoder);

    const int64_t taken = status_bytes("VmHWM") - before;
    const int64_t shard = bytes_of(decoder);
    EXPECT_GE(taken, shard / 2) << "the measure itself does not work";
    if (kKeepsFreedMemory) return;
    const int64_t slack = 6 * kMiB;  // headers, the table, large pages' ends
    EXPECT_LE(taken, shard + slack)
        << "a shard of " << shard / kMiB << " MiB took " << taken / kMiB;
  }
};

TEST_F(LoadMemory, IsTheShardAndLessThanATensorMore) {
  {
    Decoder decoder(large_enough_to_measure(), at::kFloat);
    decoder.parameters().initialise(1);
    save_hf(directory.path() / "model", decoder);
  }
  expect_little_more_than_the_shard({});
  expect_little_more_than_the_shard({.tensor = 1, .n_tensor = 2});
}

TEST_F(LoadMemory, IsTheSameWhenTheFileHasAnotherType) {
  {
    Decoder decoder(large_enough_to_measure(), at::kFloat);
    decoder.parameters().initialise(1);
    save_hf(directory.path() / "model", decoder);
    std::vector<NamedTensor> tensors;
    for (const ParameterSpec& spec : decoder.parameters().table().parameters) {
      tensors.push_back(
          {spec.name, decoder.parameters().leaf(spec.name).detach().to(at::kBFloat16)});
    }
    write_safetensors(directory.path() / "model/model.safetensors", tensors);
  }
  expect_little_more_than_the_shard({});
  expect_little_more_than_the_shard({.tensor = 0, .n_tensor = 2});
}

}  // namespace
}  // namespace orrery::model
