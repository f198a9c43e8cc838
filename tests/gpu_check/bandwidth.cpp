// What the device reaches in this run: the rooflines that kernels are measured against, and what a
// launch costs. Nothing is taken from a data sheet.
#include <cstring>

#include "check.h"
#include "orrery/kernels/gae.h"

namespace orrery::gpu_check {

namespace {

/// The shortest kernel there is: one block of one action.
class SmallestKernel {
 public:
  void operator()(int64_t, cudaStream_t stream) const {
    kernels::gae_cuda<float>({.rewards = rewards_.get(),
                              .values = values_.get(),
                              .cu_seqlens = cu_seqlens_.get(),
                              .bootstrap = reinterpret_cast<const bool*>(bootstrap_.get()),
                              .advantages = results_.get(),
                              .returns = results_.get() + 1,
                              .n_sequences = 1},
                             stream);
  }

 private:
  DeviceArray<float> rewards_{std::vector<float>{1}};
  DeviceArray<float> values_{std::vector<float>{1, 2}};
  DeviceArray<int32_t> cu_seqlens_{std::vector<int32_t>{0, 1}};
  DeviceArray<char> bootstrap_{std::vector<char>{1}};
  DeviceArray<float> results_{std::vector<float>{0, 0}};
};

Figure rate(const char* name, int64_t bytes) {
  return {.name = name, .shape = {{"bytes", bytes}}, .unit = "GB/s"};
}

/// Of the large copies.
int64_t bytes_to_copy(const Check& check) {
  return check.is_small() ? 1 << 16 : std::min(int64_t{1} << 30, check.device.memory_bytes / 8);
}

}  // namespace

void check_copy_on_device(Check& check) {
  const int64_t on_device = bytes_to_copy(check);
  check.figures.measure(rate("copy_on_device", on_device), [&](Figure& figure) {
    const DeviceArray<float> from(random_numbers<float>(1 << 12, 1, 1), on_device / 4);
    const DeviceArray<float> to(std::vector<float>{0}, on_device / 4);
    const double seconds = check.timer.in_graph(
        [&](int64_t, cudaStream_t stream) { copy_async(to.get(), from.get(), on_device, stream); });
    check.bytes_per_second = 2 * static_cast<double>(on_device) / seconds;
    figure.value = *check.bytes_per_second / 1e9;
    figure.compared.push_back(compare(to, random_numbers<float>(1 << 12, 1, 1), 0));
  });
}

void check_bandwidth(Check& check) {
  check_copy_on_device(check);
  const int64_t over_the_bus = std::min(bytes_to_copy(check), int64_t{1} << 28);
  check.figures.measure(rate("copy_to_device_pinned", over_the_bus), [&](Figure& figure) {
    const PinnedMemory host(over_the_bus);
    std::memset(host.get(), 63, static_cast<size_t>(over_the_bus));
    const DeviceArray<char> to(std::vector<char>{0}, over_the_bus);
    const double seconds = check.timer.in_graph([&](int64_t, cudaStream_t stream) {
      copy_async(to.get(), host.get(), over_the_bus, stream);
    });
    figure.value = static_cast<double>(over_the_bus) / seconds / 1e9;
    const std::vector<char> got = to.host();
    const bool is_same = std::all_of(got.begin(), got.end(), [](char byte) { return byte == 63; });
    figure.compared.push_back({.difference = is_same ? 0.0 : 1.0, .allowed = 0});
  });
  check.figures.measure(rate("copy_to_host_pinned", over_the_bus), [&](Figure& figure) {
    const PinnedMemory host(over_the_bus);
    const DeviceArray<char> from(std::vector<char>{63}, over_the_bus);
    const double seconds = check.timer.in_graph([&](int64_t, cudaStream_t stream) {
      copy_async(host.get(), from.get(), over_the_bus, stream);
    });
    figure.value = static_cast<double>(over_the_bus) / seconds / 1e9;
    const char* const got = static_cast<const char*>(host.get());
    const bool is_same = std::all_of(got, got + over_the_bus, [](char byte) { return byte == 63; });
    figure.compared.push_back({.difference = is_same ? 0.0 : 1.0, .allowed = 0});
  });
}

void check_launches(Check& check) {
  const auto us = [](const char* name) { return Figure{.name = name, .unit = "us"}; };
  check.figures.measure(us("launch_in_stream"), [&](Figure& figure) {
    const SmallestKernel kernel;
    figure.value = check.timer.in_stream(std::cref(kernel)) * 1e6;
  });
  check.figures.measure(us("launch_in_graph"), [&](Figure& figure) {
    const SmallestKernel kernel;
    figure.value = check.timer.in_graph(std::cref(kernel)) * 1e6;
  });
  check.figures.measure(us("launch_and_wait"), [&](Figure& figure) {
    const SmallestKernel kernel;
    figure.value = check.timer.waited_for(std::cref(kernel)) * 1e6;
  });
  Figure graph = us("graph_launch_and_wait");
  graph.shape["kernels"] = 1;
  check.figures.measure(graph, [&](Figure& figure) {
    const SmallestKernel kernel;
    figure.value = check.timer.graph_waited_for(std::cref(kernel), 1) * 1e6;
  });
}

void check_allowances(Check& check) {
  Figure context{.name = "allowance_context_gb", .unit = "GB"};
  check.figures.measure(context, [&](Figure& figure) {
    figure.value = static_cast<double>(bytes_taken() - check.bytes_taken_before) / 1e9;
  });
  const int64_t n_kernels = check.is_small() ? 10 : 4096;
  Figure graph{
      .name = "graph_bytes_per_kernel", .shape = {{"kernels", n_kernels}}, .unit = "bytes"};
  check.figures.measure(graph, [&](Figure& figure) {
    const SmallestKernel kernel;
    figure.value = static_cast<double>(bytes_of_graph(std::cref(kernel), n_kernels)) /
                   static_cast<double>(n_kernels);
  });
}

}  // namespace orrery::gpu_check
