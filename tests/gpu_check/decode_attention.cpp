// Paged attention of one new token for each sequence of a batch, in bf16, at the heads of the
// models in docs/gpu.md. Successive runs read other pages, as successive layers do, so that keys
// and values come from memory and not from the L2 cache.
#include "orrery/kernels/decode_attention.h"

#include <cmath>

#include "check.h"

namespace orrery::gpu_check {

namespace {

using kernels::Bf16;
using kernels::kPageTokens;

struct Heads {
  const char* model;
  int64_t n_heads, n_kv_heads, head_dim;
};
constexpr Heads kModels[] = {
    {"Qwen2.5-0.5B", 14, 2, 64}, {"Qwen2.5-1.5B", 12, 2, 128}, {"Qwen2.5-7B", 28, 4, 128}};

/// bf16 keeps 8 bits of a result.
constexpr double kAllowed = 1.0 / 256;
constexpr int64_t kMostReferenceSequences = 8;
constexpr int64_t kMostCopies = 256;

/// Attention of a batch in which sequence s is the same as s mod `n_different`.
class Case {
 public:
  Case(const Heads& heads, int64_t batch, int64_t context, int64_t l2_bytes)
      : heads_(heads),
        batch_(batch),
        context_(context),
        n_different_(std::min(batch, kMostReferenceSequences)),
        pages_each_((context + kPageTokens - 1) / kPageTokens),
        page_numel_(kernels::page_size(heads.n_kv_heads, heads.head_dim)),
        n_copies_(std::clamp(2 * l2_bytes / bytes() + 1, int64_t{1}, kMostCopies)),
        q_(random_numbers<Bf16>(n_different_ * width(), 1, 1)),
        pages_(random_numbers<Bf16>(n_different_ * pages_each_ * page_numel_, 1, 2)),
        gpu_q_(q_, batch * width()),
        gpu_pages_(pages_, n_copies_ * batch * pages_each_ * page_numel_),
        gpu_table_(table(n_copies_ * batch)),
        gpu_context_(std::vector<int32_t>{static_cast<int32_t>(context)}, batch),
        gpu_out_(std::vector<Bf16>{Bf16{0x7fc0}}, batch * width()),  // not a number
        scratch_rows_(kernels::attention_scratch_rows(batch, heads.n_heads, heads.head_dim,
                                                      pages_each_ * kPageTokens)),
        gpu_partials_(std::vector<float>{0},
                      scratch_rows_ * heads.n_heads *
                          kernels::most_attention_parts(pages_each_ * kPageTokens) *
                          kernels::partial_size(heads.head_dim)),
        gpu_n_done_(std::vector<int32_t>{0}, scratch_rows_ * heads.n_heads),
        expected_(expected()) {}

  /// Keys, values and queries read, the result written.
  int64_t bytes() const {
    return 2 * (batch_ * context_ * heads_.n_kv_heads * heads_.head_dim * 2 + 2 * batch_ * width());
  }

  /// The run reads pages that the runs before it did not.
  Work work() {
    return [this](int64_t run, cudaStream_t stream) {
      kernels::DecodeAttentionArgs<Bf16> args = shape(
          gpu_q_.get(), gpu_pages_.get(), gpu_table_.get() + run % n_copies_ * batch_ * pages_each_,
          gpu_context_.get(), gpu_out_.get());
      args.n_sequences = batch_;
      decode_attention_cuda(
          args,
          {.partials = gpu_partials_.get(), .n_done = gpu_n_done_.get(), .n_rows = scratch_rows_},
          stream);
    };
  }
  Comparison comparison() const { return compare(gpu_out_, expected_, kAllowed); }

 private:
  int64_t width() const { return heads_.n_heads * heads_.head_dim; }

  /// Pages of a sequence in a shuffled order; what is in page p is that of p mod their number of
  /// `n_different` sequences.
  std::vector<int32_t> table(int64_t n_sequences) const {
    std::vector<int32_t> pages(static_cast<size_t>(n_sequences * pages_each_));
    for (int64_t i = 0; i < n_sequences * pages_each_; ++i) {
      const int64_t sequence = i / pages_each_, place = i % pages_each_;
      pages[static_cast<size_t>(i)] =
          static_cast<int32_t>(sequence * pages_each_ + (pages_each_ - 1 - place));
    }
    return pages;
  }

  template <class T>
  kernels::DecodeAttentionArgs<T> shape(const T* q, const T* pages, const int32_t* table,
                                        const int32_t* n_context, T* out) const {
    return {.q = q,
            .q_stride = width(),
            .pages = pages,
            .page_table = table,
            .table_stride = pages_each_,
            .n_context = n_context,
            .out = out,
            .out_stride = width(),
            .n_sequences = n_different_,
            .n_heads = heads_.n_heads,
            .n_kv_heads = heads_.n_kv_heads,
            .head_dim = heads_.head_dim,
            .scale = 1 / std::sqrt(static_cast<double>(heads_.head_dim))};
  }

  /// In float from the same bf16 numbers.
  std::vector<float> expected() const {
    const auto widened = [](const std::vector<Bf16>& numbers) {
      std::vector<float> wide(numbers.size());
      std::transform(numbers.begin(), numbers.end(), wide.begin(), kernels::to_float);
      return wide;
    };
    const std::vector<float> q = widened(q_), pages = widened(pages_);
    const std::vector<int32_t> pages_of = table(n_different_);
    const std::vector<int32_t> n_context(static_cast<size_t>(n_different_),
                                         static_cast<int32_t>(context_));
    std::vector<float> out(q.size());
    std::vector<float> scratch(static_cast<size_t>(kernels::decode_attention_scratch(
        heads_.n_heads, heads_.n_kv_heads, heads_.head_dim, context_)));
    auto args = shape<float>(q.data(), pages.data(), pages_of.data(), n_context.data(), out.data());
    args.scratch = scratch.data();
    kernels::decode_attention(args);
    return out;
  }

  Heads heads_;
  int64_t batch_, context_, n_different_, pages_each_, page_numel_, n_copies_;
  std::vector<Bf16> q_, pages_;
  DeviceArray<Bf16> gpu_q_, gpu_pages_;
  DeviceArray<int32_t> gpu_table_, gpu_context_;
  DeviceArray<Bf16> gpu_out_;
  int64_t scratch_rows_;
  DeviceArray<float> gpu_partials_;
  DeviceArray<int32_t> gpu_n_done_;
  std::vector<float> expected_;
};

void check_case(const Check& check, const Heads& heads, int64_t batch, int64_t context,
                Figure& figure) {
  Case attention(heads, batch, context, check.device.l2_bytes);
  figure.value = check.timer.in_graph(attention.work()) * 1e6;
  figure.compared.push_back(attention.comparison());
  figure.roofline = check.roofline_us(attention.bytes());
}

}  // namespace

void check_decode_attention(Check& check) {
  const int64_t context = check.is_small() ? 40 : 1024;
  const std::vector<int64_t> batches =
      check.is_small() ? std::vector<int64_t>{1, 2} : std::vector<int64_t>{1, 32, 256};
  for (const Heads& heads : kModels) {
    for (const int64_t batch : batches) {
      check.figures.measure(
          {.name = "decode_attention",
           .shape = {{"model", heads.model},
                     {"heads", heads.n_heads},
                     {"kv_heads", heads.n_kv_heads},
                     {"head_dim", heads.head_dim},
                     {"batch", batch},
                     {"context", context},
                     {"type", "bf16"}},
           .unit = "us"},
          [&](Figure& figure) { check_case(check, heads, batch, context, figure); });
    }
  }
}

}  // namespace orrery::gpu_check
