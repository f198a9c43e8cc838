// libtorch_cuda.so of the simulated GPUs: the operators of operators.txt. What a call can know at
// once is checked and returned at once: the CPU's kernel is run on zeros in place of numbers, which
// gives its checks, and the types, sizes and strides of its results. The numbers come when the
// stream gets there, from the same kernel on the device's memory. Any other operator on CUDA is
// refused by its name.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include <cstddef>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "memory.h"
#include "rules.h"
#include "torch_matmul.h"
#include "torch_memory.h"

namespace orrery::simulated_gpu {

namespace {

using torch::jit::Stack;

constexpr std::size_t kMostOperators = 60;

enum class Kind {
  kPlain,
  kWaits,     // the host waits for it on a GPU too: the size of its result depends on numbers
  kFloating,  // on a GPU it takes floating types only
};

/// Of operators.txt.
const std::map<std::string, Kind>& listed_operators() {
  static const std::map<std::string, Kind> all = [] {
    std::map<std::string, Kind> listed;
    std::ifstream file(ORRERY_SIMULATED_OPERATORS);
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::string name, how;
      words >> name >> how;
      if (name.empty() || name[0] == '#') continue;
      listed[name] = how == "waits"      ? Kind::kWaits
                     : how == "floating" ? Kind::kFloating
                                         : Kind::kPlain;
    }
    TORCH_CHECK(!listed.empty() && listed.size() <= kMostOperators, ORRERY_SIMULATED_OPERATORS,
                ": 1 to ", kMostOperators, " operators are expected, not ", listed.size());
    return listed;
  }();
  return all;
}

/// Calls `visit` for every tensor of an argument and puts what it returns in its place.
template <class Visit>
c10::IValue with_tensors(const c10::IValue& value, const Visit& visit) {
  if (value.isTensor()) return value.toTensor().defined() ? visit(value.toTensor()) : value;
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& x : value.toTensorVector()) list.push_back(visit(x).toTensor());
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (const std::optional<at::Tensor>& x : value.toOptionalTensorVector()) {
      list.push_back(x && x->defined() ? std::optional(visit(*x).toTensor()) : std::nullopt);
    }
    return list;
  }
  return value;
}

/// The arguments on another device. A tensor that is named twice stays one.
template <class Make>
Stack arguments_on(c10::DeviceType device, const Stack& given, const Make& make) {
  std::map<const c10::TensorImpl*, at::Tensor> made;
  Stack result;
  for (const c10::IValue& value : given) {
    result.push_back(value.isDevice()
                         ? c10::IValue(c10::Device(device))
                         : with_tensors(value, [&](const at::Tensor& x) -> c10::IValue {
                             at::Tensor& there = made[x.unsafeGetTensorImpl()];
                             if (!there.defined()) there = make(x);
                             if (x.unsafeGetTensorImpl()->is_wrapped_number()) {
                               there.unsafeGetTensorImpl()->set_wrapped_number(true);
                             }
                             return there;
                           }));
  }
  return result;
}

/// Numbers of the host as they are: they may divide.
at::Tensor zeros_of(const at::Tensor& x) {
  if (!is_on_gpu(x)) return x.clone();
  return at::empty_strided(x.sizes(), x.strides(), at::TensorOptions().dtype(x.scalar_type()))
      .zero_();
}

/// Numbers of the host that a call brings along are copied at once, as a kernel's arguments are.
at::Tensor operand_of(const at::Tensor& x) { return is_on_gpu(x) ? view_for_work(x) : x.clone(); }

/// The one device of all arguments. Throws, as LibTorch does, where there are two.
c10::Device device_of_arguments(const std::string& name, const Stack& given) {
  std::optional<c10::Device> device;
  for (const c10::IValue& value : given) {
    if (value.isDevice() && value.toDevice().is_cuda()) device = value.toDevice();
  }
  for (const c10::IValue& value : given) {
    with_tensors(value, [&](const at::Tensor& x) -> c10::IValue {
      if (is_on_gpu(x) && !device) device = x.device();
      if (is_on_gpu(x) ? x.device() != *device : x.dim() > 0) {
        C10_THROW_ERROR(Error, name +
                                   ": Expected all tensors to be on the same device, but found at "
                                   "least two devices, " +
                                   (device ? device->str() : "cuda") + " and " + x.device().str());
      }
      return x;
    });
  }
  if (!device || !device->has_index()) return {c10::kCUDA, c10::cuda::current_device()};
  return *device;
}

/// The argument that a result is, by the schema; none: a new tensor.
std::optional<size_t> argument_of(const c10::FunctionSchema& schema, size_t result) {
  const c10::AliasInfo* const alias = schema.returns()[result].alias_info();
  for (size_t i = 0; alias != nullptr && i < schema.arguments().size(); ++i) {
    const c10::AliasInfo* const other = schema.arguments()[i].alias_info();
    if (other != nullptr && other->beforeSet() == alias->beforeSet()) return i;
  }
  return std::nullopt;
}

struct Below {  // autograd and views: kernels of a device are called below them
  at::AutoDispatchBelowADInplaceOrView dispatch;
  at::NoGradGuard no_grad;
};

void run_on(c10::DispatchKey key, const c10::OperatorHandle& op, Stack& stack) {
  const Below below;
  op.redispatchBoxed(c10::DispatchKeySet(key), &stack);
}

std::vector<at::Tensor> tensors_of(const c10::IValue& value) {
  std::vector<at::Tensor> result;
  with_tensors(value, [&](const at::Tensor& x) -> c10::IValue {
    result.push_back(x);
    return x;
  });
  return result;
}

/// What the call returns: its own arguments, or new tensors of these shapes.
Stack results_like(const Stack& shapes, const c10::FunctionSchema& schema, const Stack& given,
                   c10::Device device) {
  Stack results;
  for (size_t i = 0; i < schema.returns().size(); ++i) {
    const std::optional<size_t> argument = argument_of(schema, i);
    results.push_back(argument
                          ? given[*argument]
                          : with_tensors(shapes[i], [&](const at::Tensor& x) -> c10::IValue {
                              return new_tensor(x.sizes(), x.strides(), x.scalar_type(), device);
                            }));
  }
  return results;
}

/// For each result that is new: where its numbers go.
std::vector<std::vector<at::Tensor>> places_of(const Stack& results,
                                               const c10::FunctionSchema& schema) {
  std::vector<std::vector<at::Tensor>> places(results.size());
  for (size_t i = 0; i < results.size(); ++i) {
    if (argument_of(schema, i)) continue;
    for (const at::Tensor& x : tensors_of(results[i])) places[i].push_back(view_for_work(x));
  }
  return places;
}

void put(const Stack& computed, const std::vector<std::vector<at::Tensor>>& places) {
  for (size_t i = 0; i < places.size(); ++i) {
    if (places[i].empty()) continue;
    const std::vector<at::Tensor> numbers = tensors_of(computed[i]);
    for (size_t j = 0; j < places[i].size(); ++j) places[i][j].copy_(numbers[j]);
  }
}

/// An `out` argument of another size gets the right one, as from LibTorch's kernels.
void resize_outputs(const Stack& shapes, const c10::FunctionSchema& schema, const Stack& given) {
  for (size_t i = 0; i < schema.returns().size(); ++i) {
    const std::optional<size_t> argument = argument_of(schema, i);
    if (!argument || !shapes[i].isTensor()) continue;
    const at::Tensor out = given[*argument].toTensor(), shape = shapes[i].toTensor();
    if (out.sizes() != shape.sizes()) out.resize_(shape.sizes());
  }
}

/// The call's numbers on the host's memory, in place of its arguments on the stack.
void compute(const c10::OperatorHandle& op, const std::string& name, Stack& stack) {
  const auto give = [&](const at::Tensor& out, const at::Tensor& numbers) {
    out.copy_(numbers);
    stack = {out};
  };
  const Below below;
  if (name == "aten::mm.out") {
    give(stack[2].toTensor(), multiplied(stack[0].toTensor(), stack[1].toTensor()));
  } else if (name == "aten::addmm.out") {
    give(stack[5].toTensor(),
         multiplied_onto(stack[0].toTensor(), stack[1].toTensor(), stack[2].toTensor(),
                         stack[3].toScalar(), stack[4].toScalar()));
  } else {
    run_on(c10::DispatchKey::CPU, op, stack);
  }
}

void launch_operator(const c10::OperatorHandle& op, const std::string& name, Stack operands,
                     std::vector<std::vector<at::Tensor>> places, Stream stream) {
  ++counters().kernels;
  launch(stream, name, [op, name, operands = std::move(operands), places = std::move(places)] {
    Stack now = operands;  // a graph runs it again
    try {
      compute(op, name, now);
      const Below below;
      put(now, places);
    } catch (const c10::Error& error) {
      break_rule(name + " failed when its stream came to it: " + error.what_without_backtrace());
      throw;
    }
  });
}

void check_floating(const std::string& name, const Stack& given) {
  for (const c10::IValue& value : given) {
    for (const at::Tensor& x : tensors_of(value)) {
      TORCH_CHECK(x.is_floating_point(), name, " is not implemented on CUDA for '", x.scalar_type(),
                  "'");
    }
  }
}

/// Memory that LibTorch's kernel takes beside its results while it runs. Of flash attention
/// backwards: the gradient by the queries in fp32, in as many parts as an H200's multiprocessors
/// are worth, sums of rows, and gradients by keys and values of each query head.
int64_t scratch_bytes(const std::string& name, const Stack& given) {
  if (name != "aten::_flash_attention_backward") return 0;
  const at::Tensor q = given[1].toTensor(), k = given[2].toTensor();
  const int64_t n_heads = q.size(1), head_dim = q.size(2);
  const int64_t n_sequences = given[6].toTensor().numel() - 1;
  const int64_t n_parts = (132 + n_sequences * n_heads - 1) / (n_sequences * n_heads);
  const int64_t multiple = head_dim <= 128 ? 32 : 64;
  const int64_t rounded = (head_dim + multiple - 1) / multiple * multiple;
  const int64_t of_shared = k.size(1) < n_heads ? 2 * q.numel() * q.element_size() : 0;
  return 4 * (q.size(0) + 128 * n_sequences) * n_heads * (n_parts * rounded + 1) + of_shared;
}

Stack call(const c10::OperatorHandle& op, const std::string& name, Kind kind, const Stack& given) {
  const c10::FunctionSchema& schema = op.schema();
  const c10::Device device = device_of_arguments(name, given);
  const c10::cuda::CUDAGuard guard(device);
  const Stream stream = current_stream(device);
  if (kind == Kind::kFloating) check_floating(name, given);
  if (kind == Kind::kWaits) {
    ++counters().host_reads;
    synchronize(stream);
  }
  Stack shapes = arguments_on(c10::kCPU, given, kind == Kind::kWaits ? operand_of : zeros_of);
  run_on(c10::DispatchKey::CPU, op, shapes);
  resize_outputs(shapes, schema, given);
  Stack results = results_like(shapes, schema, given, device);
  const at::Tensor scratch =
      at::empty({scratch_bytes(name, given)}, at::TensorOptions(device).dtype(at::kByte));
  launch_operator(op, name, arguments_on(c10::kCPU, given, operand_of), places_of(results, schema),
                  stream);
  return results;
}

void run(const c10::OperatorHandle& op, c10::DispatchKeySet, Stack* stack) {
  const std::string name = toString(op.operator_name());
  const size_t n = op.schema().arguments().size();
  const Stack given(stack->end() - static_cast<std::ptrdiff_t>(n), stack->end());
  Stack results = [&] {
    const Below below;
    return call(op, name, listed_operators().at(name), given);
  }();
  torch::jit::drop(*stack, n);
  for (c10::IValue& result : results) stack->push_back(std::move(result));
}

void refuse(const c10::OperatorHandle& op, c10::DispatchKeySet, Stack*) {
  C10_THROW_ERROR(NotImplementedError,
                  toString(op.operator_name()) +
                      " is not on the list of operators of the simulated GPU "
                      "(tests/simulated_gpu/operators.txt): use another, or add it");
}

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&refuse>());
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  for (const auto& [name, kind] : listed_operators()) {
    library.impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&run>());
  }
}

}  // namespace

}  // namespace orrery::simulated_gpu
