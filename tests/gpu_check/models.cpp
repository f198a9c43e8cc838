#include "models.h"

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <cmath>

#include "orrery/base/clock.h"
#include "orrery/base/text.h"
#include "orrery/worker/allocation.h"
#include "orrery/worker/device_memory.h"

namespace orrery::gpu_check {

namespace {

const c10::Device kGpu(c10::kCUDA, 0);

/// Of unit deviation, [n] on the GPU.
at::Tensor uniform_numbers(int64_t n) {
  const std::vector<float> numbers = random_numbers<float>(n, std::sqrt(3.0F), 7);
  return at::tensor(numbers, at::kFloat).to(kGpu);
}

}  // namespace

std::vector<SizedModel> models_of(const Check& check) {
  const auto of = [&](const char* name, const char* folder) {
    return SizedModel{.name = name,
                      .architecture = model::Architecture::from_hf_config(check.fixtures / folder /
                                                                          name / "config.json")};
  };
  if (check.is_small()) return {of("qwen2", "hf")};
  return {of("qwen2.5-0.5b", "shapes"), of("qwen2.5-1.5b", "shapes"), of("qwen2.5-7b", "shapes")};
}

model::Decoder random_decoder(const model::Architecture& architecture) {
  model::Decoder decoder(architecture, at::kBFloat16, kGpu);
  model::FlatParameters& parameters = decoder.parameters();
  const at::Tensor drawn = uniform_numbers(1 << 20);
  for (const model::ParameterSpec& spec : parameters.table().parameters) {
    at::Tensor values = parameters.values().narrow(0, spec.offset, spec.numel);
    if (spec.init == model::InitRule::kOnes) values.fill_(1);
    if (spec.init != model::InitRule::kNormal) continue;
    for (int64_t i = 0; i < spec.numel; i += drawn.numel()) {
      const int64_t n = std::min(drawn.numel(), spec.numel - i);
      values.narrow(0, i, n).copy_(drawn.narrow(0, 0, n));
    }
    values.mul_(spec.init_std);
  }
  parameters.store();
  return decoder;
}

at::ScalarType computed_type(const model::Decoder& decoder) {
  return decoder.parameters().values().scalar_type();
}

int64_t bytes_a_number(const model::Decoder& decoder) {
  return static_cast<int64_t>(c10::elementSize(computed_type(decoder)));
}

std::string type_text(at::ScalarType type) {
  if (type == at::kBFloat16) return "bf16";
  return type == at::kFloat ? "fp32" : c10::toString(type);
}

model::PackedTokens some_sequences(int64_t n, int64_t length, int64_t vocab_size) {
  const std::vector<int32_t> lengths(static_cast<size_t>(n), static_cast<int32_t>(length));
  return model::pack_tokens((at::arange(n * length) * 7919 + 17) % vocab_size, lengths);
}

double forward_operations(const model::Architecture& a, int64_t length) {
  const double hidden = static_cast<double>(a.hidden_size),
               query = static_cast<double>(a.query_size());
  const double layer = hidden * static_cast<double>(a.qkv_size() + a.up_size()) + hidden * query +
                       hidden * static_cast<double>(a.intermediate_size);
  const double keys = static_cast<double>(length + 1) / 2;  // of a token, itself included
  return 2 * static_cast<double>(a.n_layers) * (layer + 2 * keys * query) +
         2 * hidden * static_cast<double>(a.vocab_size);
}

void measure_model(Check& check, Figure figure, const std::function<void(Figure&)>& work) {
  check.figures.measure(std::move(figure), [&](Figure& measured) {
    const worker::DeviceMemory memory(kGpu);
    try {
      work(measured);
    } catch (const std::exception& error) {
      const auto failed = worker::failed_allocation(error);
      if (!failed) throw;
      throw LeftOut(base::concat("there is no memory for it: another ", failed->size, "; ",
                                 failed->left.empty() ? "nothing left" : failed->left));
    }
    std::vector<comm::MemoryRecord> records;
    memory.add_to(records, measured.name);
    for (const comm::MemoryRecord& record : records) {
      measured.peak_gb = static_cast<double>(record.peak_bytes) / 1e9;
    }
  });
}

MatmulRates::MatmulRates(Check& check) {
  measure(check, at::kBFloat16, bf16_);
  measure(check, at::kFloat, fp32_);
}

void MatmulRates::measure(Check& check, at::ScalarType type, std::optional<double>& rate) {
  const int64_t n = check.is_small() ? 32 : 8192;
  const Figure figure{
      .name = "matmul",
      .shape = {{"rows", n}, {"columns", n}, {"depth", n}, {"type", type_text(type)}},
      .unit = "TFLOP/s"};
  check.figures.measure(figure, [&](Figure& measured) {
    const at::Tensor a = at::empty({n, n}, at::TensorOptions(kGpu).dtype(type)).fill_(0);
    const at::Tensor drawn = uniform_numbers(n).to(type);
    const at::Tensor b = a.add(drawn), c = b.t().contiguous();
    at::Tensor out = at::empty_like(a);
    at::mm_out(out, b, c);
    kernels::wait_for_gpu();
    const base::Stopwatch watch;
    int64_t n_runs = 0;
    for (; watch.seconds() < (check.is_small() ? 0 : 0.5) || n_runs == 0; n_runs += 8) {
      for (int i = 0; i < 8; ++i) at::mm_out(out, b, c);
      kernels::wait_for_gpu();
    }
    const double cubed = std::pow(static_cast<double>(n), 3);
    rate = 2 * cubed * static_cast<double>(n_runs) / watch.seconds();
    measured.value = *rate / 1e12;
  });
}

std::optional<double> MatmulRates::tokens_per_second(at::ScalarType type, double operations) const {
  const std::optional<double>& rate = type == at::kBFloat16 ? bf16_ : fp32_;
  if (!rate) return std::nullopt;
  return *rate / operations;
}

}  // namespace orrery::gpu_check
