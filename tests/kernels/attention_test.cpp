// Packed attention and its gradients against the definition, one sequence at a time.
#include "kernel_references.h"
#include "naive_attention.h"

namespace orrery::kernels {
namespace {

struct Sizes {
  int64_t heads, kv_heads, head_dim, window;
};

/// Fused rows [q | k | v] of sequences with the given lengths, and room for all results.
template <class T>
struct Case {
  Sizes sizes;
  std::vector<int32_t> cu_seqlens{0};
  int64_t tokens, row, q_size, kv_size;
  std::vector<T> qkv, dout, out, lse, dqkv;

  Case(const Sizes& given, const std::vector<int64_t>& lengths) : sizes(given) {
    for (const int64_t n : lengths) cu_seqlens.push_back(cu_seqlens.back() + int32_t(n));
    tokens = cu_seqlens.back();
    q_size = sizes.heads * sizes.head_dim;
    kv_size = sizes.kv_heads * sizes.head_dim;
    row = q_size + 2 * kv_size;
    qkv = random_numbers<T>(tokens * row, 1);
    for (T& value : qkv) value *= T(2);
    dout = random_numbers<T>(tokens * q_size, 2);
    out.resize(size_t(tokens * q_size));
    lse.resize(size_t(tokens * sizes.heads));
    dqkv.assign(qkv.size(), T(77));
  }

  AttentionShape shape() const {
    return {.cu_seqlens = cu_seqlens.data(),
            .n_sequences = int64_t(cu_seqlens.size()) - 1,
            .n_heads = sizes.heads,
            .n_kv_heads = sizes.kv_heads,
            .head_dim = sizes.head_dim,
            .window = sizes.window,
            .scale = 0.3};
  }

  void run(const KernelTable<T>& table) {
    int64_t longest = 0;
    for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
      longest = std::max<int64_t>(longest, cu_seqlens[s + 1] - cu_seqlens[s]);
    }
    std::vector<T> scratch(size_t(table.attention_scratch(shape(), longest)));
    table.attention({.shape = shape(),
                     .q = qkv.data(),
                     .k = qkv.data() + q_size,
                     .v = qkv.data() + q_size + kv_size,
                     .q_stride = row,
                     .k_stride = row,
                     .v_stride = row,
                     .out = out.data(),
                     .out_stride = q_size,
                     .logsumexp = lse.data()},
                    scratch.data(), longest);
    scratch.assign(size_t(table.attention_backward_scratch(shape(), longest)), T(5));
    table.attention_backward({.shape = shape(),
                              .q = qkv.data(),
                              .k = qkv.data() + q_size,
                              .v = qkv.data() + q_size + kv_size,
                              .q_stride = row,
                              .k_stride = row,
                              .v_stride = row,
                              .out = out.data(),
                              .dout = dout.data(),
                              .out_stride = q_size,
                              .dout_stride = q_size,
                              .logsumexp = lse.data(),
                              .dq = dqkv.data(),
                              .dk = dqkv.data() + q_size,
                              .dv = dqkv.data() + q_size + kv_size,
                              .dq_stride = row,
                              .dk_stride = row,
                              .dv_stride = row},
                             scratch.data(), longest);
  }

  NaiveAttention sequence(size_t s) const {
    NaiveAttention one{cu_seqlens[s + 1] - cu_seqlens[s],
                       sizes.heads,
                       sizes.kv_heads,
                       sizes.head_dim,
                       sizes.window,
                       0.3,
                       {},
                       {},
                       {}};
    for (int64_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; ++t) {
      const T* from = qkv.data() + t * row;
      one.q.insert(one.q.end(), from, from + q_size);
      one.k.insert(one.k.end(), from + q_size, from + q_size + kv_size);
      one.v.insert(one.v.end(), from + q_size + kv_size, from + row);
    }
    return one;
  }
};

/// dS = P (dO V^T - sum(dO O)) scale, then dQ, dK, dV by their sums.
template <class T>
std::vector<double> naive_backward(const Case<T>& c) {
  std::vector<double> gradient(c.qkv.size(), 0);
  for (size_t s = 0; s + 1 < c.cu_seqlens.size(); ++s) {
    const NaiveAttention one = c.sequence(s);
    const std::vector<double> out = one.out();
    for (int64_t i = 0; i < one.n; ++i) {
      for (int64_t h = 0; h < one.heads; ++h) {
        double lse = 0;
        const std::vector<double> p = one.probabilities(i, h, lse);
        const T* dout = c.dout.data() + (c.cu_seqlens[s] + i) * c.q_size + h * one.d;
        double delta = 0;
        for (int64_t e = 0; e < one.d; ++e) delta += dout[e] * out[one.q_at(i, h) + size_t(e)];
        for (size_t jj = 0; jj < p.size(); ++jj) {
          const int64_t j = one.first_key(i) + int64_t(jj);
          double dp = 0;
          for (int64_t e = 0; e < one.d; ++e) dp += dout[e] * one.v[one.k_at(j, h) + size_t(e)];
          const double ds = p[jj] * (dp - delta) * one.scale;
          double* dq = gradient.data() + (c.cu_seqlens[s] + i) * c.row + h * one.d;
          double* dk = gradient.data() + (c.cu_seqlens[s] + j) * c.row + c.q_size +
                       h * one.kv_heads / one.heads * one.d;
          for (int64_t e = 0; e < one.d; ++e) {
            dq[e] += ds * one.k[one.k_at(j, h) + size_t(e)];
            dk[e] += ds * one.q[one.q_at(i, h) + size_t(e)];
            dk[c.kv_size + e] += p[jj] * dout[e];
          }
        }
      }
    }
  }
  return gradient;
}

TEST(VarlenAttention, MatchesTheDefinitionAndItsGradientsForEveryLengthAndHeadSize) {
  on_every_table([]<class T>(const KernelTable<T>& table) {
    const std::vector<Sizes> all{{2, 2, 32, 0}, {4, 2, 8, 0},  {6, 2, 10, 0}, {7, 1, 16, 0},
                                 {2, 1, 24, 5}, {2, 2, 16, 1}, {1, 1, 6, 20}, {2, 1, 40, 0}};
    for (const Sizes& sizes : all) {
      SCOPED_TRACE(testing::Message() << sizes.heads << "/" << sizes.kv_heads << " heads of "
                                      << sizes.head_dim << ", window " << sizes.window);
      Case<T> c(sizes, {1, 31, 2, 32, 33, 0, 7, 67});

      c.run(table);

      std::vector<double> out, lse;
      for (size_t s = 0; s + 1 < c.cu_seqlens.size(); ++s) {
        const NaiveAttention one = c.sequence(s);
        const std::vector<double> rows = one.out();
        out.insert(out.end(), rows.begin(), rows.end());
        for (int64_t i = 0; i < one.n; ++i) {
          for (int64_t h = 0; h < one.heads; ++h) {
            lse.push_back(0);
            one.probabilities(i, h, lse.back());
          }
        }
      }
      expect_near(c.out, out);
      expect_near(c.lse, lse);
      expect_near(c.dqkv, naive_backward(c), 4 * bound<T>());
    }
  });
}

TEST(VarlenAttention, AcceptsAnEmptyBatch) {
  on_every_table([]<class T>(const KernelTable<T>& table) {
    Case<T> c({2, 2, 8, 0}, {});

    c.run(table);

    EXPECT_TRUE(c.out.empty());
  });
}

}  // namespace
}  // namespace orrery::kernels
