// Prints which arguments the operators of tests/simulated_gpu/operators.txt take on a GPU, and what
// they return: type, sizes, strides. No number is looked at, so LibTorch's real libtorch_cuda.so
// can be asked on a machine without a GPU: tools/compare_torch_cuda.py asks it and the simulated
// one.
#include <ATen/ATen.h>
#include <c10/core/Device.h>
#include <dlfcn.h>

#include <functional>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace {

at::Tensor gpu(at::IntArrayRef sizes, at::ScalarType type = at::kFloat) {
  return at::empty(sizes, at::TensorOptions().dtype(type).device(at::kCUDA, 0));
}

std::string text_of(const at::Tensor& x) {
  std::ostringstream text;
  text << c10::toString(x.scalar_type()) << x.sizes() << '/' << x.strides() << ' '
       << x.device().type();
  return text.str();
}

/// `accepted Float[2, 3]/[3, 1] cuda`, or `refused`: words of errors are LibTorch's own affair.
std::string answer_of(const std::function<std::vector<at::Tensor>()>& run) {
  try {
    std::string text = "accepted";
    for (const at::Tensor& x : run()) text += " " + text_of(x);
    return text;
  } catch (const std::exception&) {
    return "refused";
  }
}

struct Answers {
  std::vector<std::string> lines = {};
  void ask(const std::string& what, const std::function<at::Tensor()>& run) {
    ask_all(what, [&] { return std::vector<at::Tensor>{run()}; });
  }
  void ask_all(const std::string& what, const std::function<std::vector<at::Tensor>()>& run) {
    lines.push_back(what + ": " + answer_of(run));
  }
};

using Unary = std::function<at::Tensor(const at::Tensor&)>;
using Binary = std::function<at::Tensor(const at::Tensor&, const at::Tensor&)>;

const std::vector<at::ScalarType> kTypes = {at::kBool,     at::kInt,   at::kLong,  at::kHalf,
                                            at::kBFloat16, at::kFloat, at::kDouble};

void ask_unary(Answers& answers, const std::string& name, const Unary& run) {
  for (const at::ScalarType type : kTypes) {
    answers.ask(name + " " + c10::toString(type), [&] { return run(gpu({2, 3}, type)); });
  }
  answers.ask(name + " transposed", [&] { return run(gpu({2, 3}).t()); });
  answers.ask(name + " every other", [&] { return run(gpu({4, 6}).slice(1, 0, 6, 2)); });
  answers.ask(name + " empty", [&] { return run(gpu({0, 3})); });
  answers.ask(name + " number", [&] { return run(gpu({})); });
}

void ask_binary(Answers& answers, const std::string& name, const Binary& run) {
  for (const at::ScalarType type : kTypes) {
    for (const at::ScalarType other : {at::kBool, at::kLong, at::kBFloat16, at::kFloat}) {
      answers.ask(name + " " + c10::toString(type) + " " + c10::toString(other), [&] {
        return run(gpu({2, 3}, type), gpu({2, 3}, other));
      });
    }
  }
  answers.ask(name + " spread", [&] { return run(gpu({2, 3}), gpu({3})); });
  answers.ask(name + " sizes that differ", [&] { return run(gpu({2, 3}), gpu({2})); });
  answers.ask(name + " transposed", [&] { return run(gpu({2, 3}).t(), gpu({3, 2})); });
  answers.ask(name + " both transposed", [&] { return run(gpu({2, 3}).t(), gpu({2, 3}).t()); });
  answers.ask(name + " number of the host", [&] { return run(gpu({2, 3}), at::ones({})); });
  answers.ask(name + " tensor of the host", [&] { return run(gpu({2, 3}), at::ones({2, 3})); });
}

void ask_matmuls(Answers& answers) {
  for (const at::ScalarType type : kTypes) {
    answers.ask(std::string("mm ") + c10::toString(type), [&] {
      return at::mm(gpu({2, 3}, type), gpu({3, 4}, type));
    });
  }
  answers.ask("mm two types", [] { return at::mm(gpu({2, 3}), gpu({3, 4}, at::kBFloat16)); });
  answers.ask("mm sizes", [] { return at::mm(gpu({2, 3}), gpu({4, 3})); });
  answers.ask("mm transposed", [] { return at::mm(gpu({2, 3}), gpu({4, 3}).t()); });
  answers.ask("mm vector", [] { return at::mm(gpu({2, 3}), gpu({3})); });
  answers.ask("mm host", [] { return at::mm(gpu({2, 3}), at::ones({3, 4})); });
  answers.ask("mm out of another size", [] {
    at::Tensor out = gpu({0});
    return at::mm_out(out, gpu({2, 3}), gpu({3, 4}));
  });
  answers.ask("mm out of another type", [] {
    at::Tensor out = gpu({2, 4}, at::kDouble);
    return at::mm_out(out, gpu({2, 3}), gpu({3, 4}));
  });
  answers.ask("addmm", [] { return at::addmm(gpu({4}), gpu({2, 3}), gpu({3, 4})); });
  answers.ask("addmm types", [] {
    return at::addmm(gpu({4}, at::kBFloat16), gpu({2, 3}), gpu({3, 4}));
  });
}

/// bf16 products in fp32, as gradients and logits are made.
void ask_wide_matmuls(Answers& answers) {
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf, at::kFloat, at::kDouble}) {
    for (const at::ScalarType out_type : {at::kFloat, at::kDouble, at::kBFloat16}) {
      const std::string name = std::string(c10::toString(type)) + " to " + c10::toString(out_type);
      answers.ask("mm out_dtype " + name, [&] {
        at::Tensor out = gpu({2, 4}, out_type);
        return at::mm_out(out, gpu({2, 3}, type), gpu({3, 4}, type), out_type);
      });
      answers.ask("addmm out_dtype " + name, [&] {
        at::Tensor out = gpu({2, 4}, out_type);
        return at::addmm_out(out, out, gpu({2, 3}, type), gpu({3, 4}, type), out_type);
      });
    }
  }
  answers.ask("addmm out_dtype transposed", [] {
    at::Tensor out = gpu({2, 4});
    return at::addmm_out(out, out, gpu({3, 2}, at::kBFloat16).t(), gpu({4, 3}, at::kBFloat16).t(),
                         at::kFloat);
  });
  answers.ask("mm out_dtype sizes", [] {
    at::Tensor out = gpu({2, 4});
    return at::mm_out(out, gpu({2, 3}, at::kBFloat16), gpu({4, 3}, at::kBFloat16), at::kFloat);
  });
}

struct FlashShape {
  int64_t n_heads = 8, n_kv_heads = 2, head_dim = 64, window = 0;
  at::ScalarType type = at::kBFloat16, begins = at::kInt;
};

/// q, k and v as the decoder gives them: columns of fused rows of 6 tokens.
std::vector<at::Tensor> fused(const FlashShape& s) {
  const int64_t width = (s.n_heads + 2 * s.n_kv_heads) * s.head_dim;
  const at::Tensor rows = gpu({6, width}, s.type);
  const auto part = [&](int64_t first, int64_t n) {
    return rows.narrow(1, first * s.head_dim, n * s.head_dim).view({6, n, s.head_dim});
  };
  return {part(0, s.n_heads), part(s.n_heads, s.n_kv_heads),
          part(s.n_heads + s.n_kv_heads, s.n_kv_heads)};
}

void ask_flash(Answers& answers, const std::string& name, const FlashShape& s) {
  std::optional<int64_t> left, right;
  if (s.window > 0) {
    left = s.window - 1;
    right = 0;
  }
  answers.ask_all("flash " + name, [&] {
    const auto in = fused(s);
    const at::Tensor begins = gpu({3}, s.begins);
    const auto [out, lse, state, unused, mask] = at::_flash_attention_forward(
        in[0], in[1], in[2], begins, begins, 4, 4, 0, true, false, 0.5, left, right);
    return std::vector<at::Tensor>{out, lse};
  });
  answers.ask_all("flash backward " + name, [&] {
    const auto in = fused(s);
    const at::Tensor begins = gpu({3}, s.begins), out = gpu(in[0].sizes(), s.type);
    const at::Tensor none = gpu({2}, at::kUInt64);
    const auto [dq, dk, dv] =
        at::_flash_attention_backward(out, in[0], in[1], in[2], out, gpu({s.n_heads, 6}), begins,
                                      begins, 4, 4, 0, true, none, none, 0.5, left, right);
    return std::vector<at::Tensor>{dq, dk, dv};
  });
}

void ask_all_flash(Answers& answers) {
  ask_flash(answers, "grouped", {});
  ask_flash(answers, "as many key heads", {.n_kv_heads = 8});
  ask_flash(answers, "window", {.window = 3});
  ask_flash(answers, "fp16", {.type = at::kHalf});
  ask_flash(answers, "fp32", {.type = at::kFloat});
  ask_flash(answers, "heads of 8", {.head_dim = 8});
  ask_flash(answers, "heads of 256", {.head_dim = 256});
  ask_flash(answers, "heads of 264", {.head_dim = 264});
  ask_flash(answers, "heads that do not divide", {.n_heads = 7});
  ask_flash(answers, "int64 begins", {.begins = at::kLong});
}

/// Products of groups of rows, and what finds the groups.
void ask_groups(Answers& answers) {
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat, at::kInt}) {
    const std::string name = c10::toString(type);
    answers.ask("grouped mm " + name, [&] {
      return at::_grouped_mm(gpu({5, 16}, type), gpu({3, 16, 8}, type), gpu({3}, at::kInt));
    });
    answers.ask("grouped mm of columns " + name, [&] {
      return at::_grouped_mm(gpu({5, 16}, type).t(), gpu({5, 8}, type), gpu({3}, at::kInt));
    });
  }
  const auto narrow = [](at::IntArrayRef sizes) { return gpu(sizes, at::kBFloat16); };
  answers.ask("grouped mm transposed", [&] {
    return at::_grouped_mm(narrow({5, 16}), narrow({3, 8, 16}).transpose(1, 2), gpu({3}, at::kInt));
  });
  answers.ask("grouped mm of odd rows", [&] {
    return at::_grouped_mm(narrow({5, 12}), narrow({3, 12, 8}), gpu({3}, at::kInt));
  });
  answers.ask("grouped mm sizes", [&] {
    return at::_grouped_mm(narrow({5, 16}), narrow({3, 8, 16}), gpu({3}, at::kInt));
  });
  answers.ask("grouped mm ends of int64", [&] {
    return at::_grouped_mm(narrow({5, 16}), narrow({3, 16, 8}), gpu({3}, at::kLong));
  });
  answers.ask("grouped mm ends of fewer", [&] {
    return at::_grouped_mm(narrow({5, 16}), narrow({3, 16, 8}), gpu({2}, at::kInt));
  });
  answers.ask("grouped mm without ends", [&] {
    return at::_grouped_mm(narrow({5, 16}), narrow({3, 16, 8}));
  });
  for (const at::ScalarType type : {at::kLong, at::kFloat}) {
    const std::string name = c10::toString(type);
    answers.ask_all("sort " + name, [&] {
      const auto [values, places] = at::sort(gpu({7}, type), true, 0, false);
      return std::vector<at::Tensor>{values, places};
    });
    answers.ask("searchsorted " + name, [&] {
      return at::searchsorted(gpu({7}, type), gpu({3}, at::kLong), /*out_int32=*/true);
    });
    answers.ask("div floor " + name, [&] { return gpu({7}, type).div(3, "floor"); });
    answers.ask("arange " + name, [&] { return at::arange(0, 4, 1, gpu({1}, type).options()); });
  }
}

void ask_rest(Answers& answers) {
  for (const at::ScalarType type : kTypes) {
    const std::string name = c10::toString(type);
    answers.ask("sum " + name, [&] { return gpu({2, 3}, type).sum(); });
    answers.ask("sum dim " + name, [&] { return gpu({2, 3}, type).sum(1); });
    answers.ask("mean " + name, [&] { return gpu({2, 3}, type).mean(); });
    answers.ask("fill_ " + name, [&] { return gpu({2, 3}, type).fill_(1); });
    answers.ask("index_select " + name, [&] {
      return gpu({4, 3}, type).index_select(0, gpu({2}, at::kLong));
    });
    answers.ask("index_copy " + name, [&] {
      return gpu({4, 3}, type).index_copy_(0, gpu({2}, at::kLong), gpu({2, 3}, type));
    });
    answers.ask("norm " + name, [&] { return gpu({2, 3}, type).norm(); });
    answers.ask("sigmoid backward " + name, [&] {
      return at::sigmoid_backward(gpu({2, 3}, type), gpu({2, 3}, type));
    });
    answers.ask("norm in float " + name, [&] { return gpu({2, 3}, type).norm(2, at::kFloat); });
    answers.ask("index " + name, [&] { return gpu({4, 3}, type).index({gpu({2}, at::kLong)}); });
    answers.ask("to float " + name, [&] { return gpu({2, 3}, type).to(at::kFloat); });
    answers.ask("cat with float " + name, [&] {
      return at::cat({gpu({2, 3}, type), gpu({1, 3})});
    });
  }
  answers.ask("index_select by float", [] { return gpu({4, 3}).index_select(0, gpu({2})); });
  answers.ask("index_select int", [] { return gpu({4, 3}).index_select(0, gpu({2}, at::kInt)); });
  answers.ask("index_copy types", [] {
    return gpu({4, 3}).index_copy_(0, gpu({2}, at::kLong), gpu({2, 3}, at::kDouble));
  });
  answers.ask("index_copy sizes", [] {
    return gpu({4, 3}).index_copy_(0, gpu({2}, at::kLong), gpu({3, 3}));
  });
  answers.ask("cat sizes", [] { return at::cat({gpu({2, 3}), gpu({1, 4})}); });
  answers.ask("cat columns", [] { return at::cat({gpu({2, 3}), gpu({2, 4})}, 1); });
  answers.ask("cat host", [] { return at::cat({gpu({2, 3}), at::ones({2, 3})}); });
  answers.ask("where", [] { return at::where(gpu({2, 3}, at::kBool), gpu({2, 3}), gpu({3})); });
  answers.ask("where int", [] { return at::where(gpu({2, 3}, at::kInt), gpu({2, 3}), gpu({3})); });
  answers.ask("where number", [] {
    return at::where(gpu({2, 3}, at::kBool), gpu({2, 3}, at::kBFloat16), 0.0);
  });
  answers.ask("add_ to a smaller", [] { return gpu({3}).add_(gpu({2, 3})); });
  answers.ask("add_ float to long", [] { return gpu({3}, at::kLong).add_(gpu({3})); });
  answers.ask("view of transposed", [] { return gpu({2, 3}).t().view({6}); });
  answers.ask("reshape of transposed", [] { return gpu({2, 3}).t().reshape({6}); });
  answers.ask("copy_ sizes", [] { return gpu({2, 3}).copy_(gpu({4})); });
  answers.ask("pinned", [] {
    return at::empty({2}, at::TensorOptions().device(at::kCUDA, 0).pinned_memory(true));
  });
  answers.ask("gpu that is not there",
              [] { return at::empty({2}, at::TensorOptions().device(at::kCUDA, 15)); });
}

std::vector<std::string> all_answers() {
  Answers answers;
  const std::pair<const char*, Unary> unary[] = {
      {"neg", [](const at::Tensor& x) { return at::neg(x); }},
      {"exp", [](const at::Tensor& x) { return at::exp(x); }},
      {"log", [](const at::Tensor& x) { return at::log(x); }},
      {"sqrt", [](const at::Tensor& x) { return at::sqrt(x); }},
      {"expm1", [](const at::Tensor& x) { return at::expm1(x); }},
      {"reciprocal", [](const at::Tensor& x) { return at::reciprocal(x); }},
      {"sigmoid", [](const at::Tensor& x) { return at::sigmoid(x); }},
      {"amax", [](const at::Tensor& x) { return at::amax(x, 0); }},
      {"equal to a number", [](const at::Tensor& x) { return at::eq(x, 1); }},
      {"abs", [](const at::Tensor& x) { return at::abs(x); }},
      {"isnan", [](const at::Tensor& x) { return at::isnan(x); }},
      {"logical_not", [](const at::Tensor& x) { return at::logical_not(x); }},
      {"clamp", [](const at::Tensor& x) { return at::clamp(x, -1, 1); }},
      {"clamp_min", [](const at::Tensor& x) { return at::clamp_min(x, 0.5); }}};
  for (const auto& [name, run] : unary) ask_unary(answers, name, run);
  const std::pair<const char*, Binary> binary[] = {
      {"add", [](const at::Tensor& x, const at::Tensor& y) { return at::add(x, y); }},
      {"sub", [](const at::Tensor& x, const at::Tensor& y) { return at::sub(x, y); }},
      {"mul", [](const at::Tensor& x, const at::Tensor& y) { return at::mul(x, y); }},
      {"div", [](const at::Tensor& x, const at::Tensor& y) { return at::div(x, y); }},
      {"maximum", [](const at::Tensor& x, const at::Tensor& y) { return at::maximum(x, y); }},
      {"minimum", [](const at::Tensor& x, const at::Tensor& y) { return at::minimum(x, y); }},
      {"xlogy", [](const at::Tensor& x, const at::Tensor& y) { return at::xlogy(x, y); }},
      {"or", [](const at::Tensor& x, const at::Tensor& y) { return at::logical_or(x, y); }},
      {"less", [](const at::Tensor& x, const at::Tensor& y) { return at::lt(x, y); }},
      {"equal", [](const at::Tensor& x, const at::Tensor& y) { return at::eq(x, y); }}};
  for (const auto& [name, run] : binary) ask_binary(answers, name, run);
  ask_matmuls(answers);
  ask_wide_matmuls(answers);
  ask_all_flash(answers);
  ask_groups(answers);
  ask_rest(answers);
  return answers.lines;
}

}  // namespace

int main() {
  if (dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_GLOBAL) == nullptr) {
    std::cerr << "operator_probe: " << dlerror() << "\n";
    return 2;
  }
  for (const std::string& line : all_answers()) std::cout << line << "\n";
  return 0;
}
