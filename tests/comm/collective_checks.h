// Every operation of a Communicator against the answer by a plain loop, for any backend and number
// of ranks. Values are small integers, so sums are exact in every type. Nothing returns early: a
// rank that leaves before a collective hangs its peers.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>  // memcmp
#include <functional>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/comm/communicator.h"

namespace orrery::comm {

/// Value i of `rank`: 0..4, or 0..1 for bool. One definition for inputs and expectations.
inline int64_t value_at(at::ScalarType type, int rank, int64_t i) {
  const int64_t v = i * 7 + rank * 3 + i / 5;
  return type == at::kBool ? v % 2 : v % 5;
}

/// [n] value(i)
inline at::Tensor filled(at::ScalarType type, int64_t n,
                         const std::function<int64_t(int64_t)>& value) {
  at::Tensor wide = at::empty({n}, at::kDouble);
  double* data = wide.mutable_data_ptr<double>();
  for (int64_t i = 0; i < n; ++i) data[i] = static_cast<double>(value(i));
  return wide.to(type);
}

inline at::Tensor input_of(at::ScalarType type, int rank, int64_t n) {
  return filled(type, n, [&](int64_t i) { return value_at(type, rank, i); });
}

inline int64_t combined_at(at::ScalarType type, int n_ranks, int64_t i, ReduceOp op) {
  int64_t result = value_at(type, 0, i);
  for (int r = 1; r < n_ranks; ++r) {
    const int64_t v = value_at(type, r, i);
    switch (op) {
      case ReduceOp::kSum:
        result += v;
        break;
      case ReduceOp::kMin:
        result = std::min(result, v);
        break;
      case ReduceOp::kMax:
        result = std::max(result, v);
        break;
    }
  }
  return type == at::kBool ? (result != 0 ? 1 : 0) : result;
}

/// The tensor where `group` wants it, on this thread's device.
inline at::Tensor on(const Communicator& group, const at::Tensor& x) {
  return x.to(group.device_type());
}

inline at::Tensor zeros_on(const Communicator& group, at::IntArrayRef sizes, at::ScalarType type) {
  return on(group, at::zeros(sizes, type));
}

/// Equal type and bytes, wherever they are: a bool that holds 2 is not equal to one that holds 1.
inline bool is_same(const at::Tensor& a_there, const at::Tensor& b_there) {
  const at::Tensor a = a_there.cpu(), b = b_there.cpu();
  return a.scalar_type() == b.scalar_type() && a.nbytes() == b.nbytes() &&
         (a.nbytes() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0);
}

#define EXPECT_TENSOR_EQ(got, expected)                                    \
  EXPECT_TRUE(is_same((got), (expected)))                                  \
      << "got " << (got).cpu().view({-1}).slice(0, 0, 12) << "\nexpected " \
      << (expected).cpu().view({-1}).slice(0, 0, 12)

inline void check_all_reduce(Communicator& group, at::ScalarType type, int64_t n) {
  for (const ReduceOp op : {ReduceOp::kSum, ReduceOp::kMin, ReduceOp::kMax}) {
    at::Tensor x = on(group, input_of(type, group.rank(), n));
    group.all_reduce(x, op);
    EXPECT_TENSOR_EQ(
        x, filled(type, n, [&](int64_t i) { return combined_at(type, group.size(), i, op); }));
  }
}

inline void check_all_gather(Communicator& group, at::ScalarType type, int64_t n) {
  const at::Tensor expected = filled(type, n * group.size(), [&](int64_t i) {
    return value_at(type, static_cast<int>(i / n), i % n);
  });

  const at::Tensor in = on(group, input_of(type, group.rank(), n));
  at::Tensor out = zeros_on(group, {group.size(), n}, type);
  group.all_gather(out, in);
  EXPECT_TENSOR_EQ(out, expected);

  at::Tensor in_place = zeros_on(group, {group.size(), n}, type);
  at::Tensor own_block = in_place[group.rank()];
  own_block.copy_(in);
  group.all_gather(in_place, own_block);
  EXPECT_TENSOR_EQ(in_place, expected);
}

inline void check_reduce_scatter(Communicator& group, at::ScalarType type, int64_t n) {
  const int64_t begin = group.rank() * n;
  const at::Tensor expected = filled(type, n, [&](int64_t i) {
    return combined_at(type, group.size(), begin + i, ReduceOp::kSum);
  });

  at::Tensor in = on(group, input_of(type, group.rank(), n * group.size()));
  at::Tensor out = zeros_on(group, {n}, type);
  group.reduce_scatter(out, in, ReduceOp::kSum);
  EXPECT_TENSOR_EQ(out, expected);

  at::Tensor own_block = in.narrow(0, begin, n);
  group.reduce_scatter(own_block, in, ReduceOp::kSum);
  EXPECT_TENSOR_EQ(own_block, expected);
}

inline void check_broadcast(Communicator& group, at::ScalarType type, int64_t n) {
  for (int root = 0; root < group.size(); ++root) {
    at::Tensor x = on(group, input_of(type, group.rank(), n));
    group.broadcast(x, root);
    EXPECT_TENSOR_EQ(x, input_of(type, root, n));
  }
}

inline void check_gather_and_scatter(Communicator& group, at::ScalarType type, int64_t n) {
  const int root = group.size() - 1;
  const bool is_root = group.rank() == root;
  at::Tensor all = is_root ? zeros_on(group, {group.size() * n}, type) : at::Tensor();
  group.gather(all, on(group, input_of(type, group.rank(), n)), root);
  if (is_root) {
    EXPECT_TENSOR_EQ(all, filled(type, n * group.size(), [&](int64_t i) {
                       return value_at(type, static_cast<int>(i / n), i % n);
                     }));
  }

  at::Tensor back = zeros_on(group, {n}, type);
  group.scatter(back, all, root);
  EXPECT_TENSOR_EQ(back, input_of(type, group.rank(), n));
}

/// Rank r sends (r + to) % 3 * n rows of 2 to each.
inline void check_all_to_all_v(Communicator& group, at::ScalarType type, int64_t n) {
  const auto rows = [&](int from, int to) { return (from + to) % 3 * n; };
  const auto value = [&](int from, int to, int64_t i) { return value_at(type, from + to, i); };
  std::vector<int64_t> in_rows;
  std::vector<int64_t> out_rows;
  std::vector<at::Tensor> in_parts;
  std::vector<at::Tensor> out_parts;
  for (int r = 0; r < group.size(); ++r) {
    in_rows.push_back(rows(group.rank(), r));
    out_rows.push_back(rows(r, group.rank()));
    in_parts.push_back(filled(type, in_rows.back() * 2, [&](int64_t i) {
                         return value(group.rank(), r, i);
                       }).view({-1, 2}));
    out_parts.push_back(filled(type, out_rows.back() * 2, [&](int64_t i) {
                          return value(r, group.rank(), i);
                        }).view({-1, 2}));
  }
  const at::Tensor expected = at::cat(out_parts);
  at::Tensor out = on(group, at::zeros_like(expected));
  group.all_to_all_v(out, out_rows, on(group, at::cat(in_parts)), in_rows);
  EXPECT_TENSOR_EQ(out, expected);
}

/// Two messages to the next rank, one to the one before; with one rank: to itself.
inline void check_exchange(Communicator& group, at::ScalarType type, int64_t n) {
  const int next = (group.rank() + 1) % group.size();
  const int previous = (group.rank() + group.size() - 1) % group.size();
  at::Tensor first = zeros_on(group, {n}, type);
  at::Tensor second = zeros_on(group, {n + 1}, type);
  at::Tensor third = zeros_on(group, {2}, type);
  std::vector<int> told(3, 0);
  const auto received = [&](std::size_t i) {
    ++told.at(i);
    if (i != 1) return;
    EXPECT_TENSOR_EQ(second, input_of(type, previous + 1, n + 1)) << "is there by now";
  };
  const std::vector<Send> sends = {{next, on(group, input_of(type, group.rank(), n))},
                                   {next, on(group, input_of(type, group.rank() + 1, n + 1))},
                                   {previous, on(group, input_of(type, group.rank() + 2, 2))}};
  const std::vector<Receive> receives = {{previous, first}, {previous, second}, {next, third}};
  // With two ranks next and previous are one peer: messages of a pair match in their order.
  group.exchange(sends, receives, received);
  EXPECT_EQ(told, std::vector<int>({1, 1, 1}));
  EXPECT_TENSOR_EQ(first, input_of(type, previous, n));
  EXPECT_TENSOR_EQ(second, input_of(type, previous + 1, n + 1));
  EXPECT_TENSOR_EQ(third, input_of(type, next + 2, 2));
}

inline const std::vector<at::ScalarType>& all_types() {
  static const std::vector<at::ScalarType> types = {
      at::kBool, at::kByte, at::kChar,     at::kShort, at::kInt,
      at::kLong, at::kHalf, at::kBFloat16, at::kFloat, at::kDouble};
  return types;
}

/// NCCL has no int16.
inline bool can_reduce(const Communicator& group, at::ScalarType type) {
  return group.device_type() == at::kCPU || type != at::kShort;
}

/// Every operation, type and size. `sizes` in elements.
inline void check_everything(Communicator& group, const std::vector<int64_t>& sizes) {
  for (const at::ScalarType type : all_types()) {
    for (const int64_t n : sizes) {
      SCOPED_TRACE(::testing::Message() << "rank " << group.rank() << " of " << group.size() << ", "
                                        << c10::toString(type) << ", " << n << " elements");
      if (can_reduce(group, type)) {
        check_all_reduce(group, type, n);
        check_reduce_scatter(group, type, n);
      }
      check_all_gather(group, type, n);
      check_broadcast(group, type, n);
      check_gather_and_scatter(group, type, n);
      check_all_to_all_v(group, type, n);
      check_exchange(group, type, n);
    }
    group.barrier();
  }
}

/// 256 + 1 + 1 ... in bf16: an accumulator of bf16 would stay at 256.
inline void check_half_precision_accumulates_in_fp32(Communicator& group) {
  at::Tensor x = at::full({3}, group.rank() == 0 ? 256 : 1, at::kBFloat16);
  group.all_reduce(x, ReduceOp::kSum);
  EXPECT_TENSOR_EQ(x, at::full({3}, 255 + group.size(), at::kFloat).to(at::kBFloat16));
}

/// Even and odd ranks, in descending order; then one group less the first rank.
inline void check_split(Communicator& group) {
  const int colour = group.rank() % 2;
  auto half = group.split(colour, -group.rank(), colour == 0 ? "even" : "odd");
  std::vector<int> expected;
  for (int r = group.size() - 1; r >= 0; --r) {
    if (r % 2 == colour) expected.push_back(r);
  }
  EXPECT_EQ(half->workers(), expected);
  EXPECT_EQ(half->workers()[static_cast<std::size_t>(half->rank())], group.rank());
  EXPECT_EQ(half->name(), colour == 0 ? "even" : "odd");
  check_all_gather(*half, at::kLong, 3);

  auto rest = group.split(group.rank() == 0 ? Communicator::kNoColour : 5, group.rank(), "rest");
  EXPECT_EQ(rest == nullptr, group.rank() == 0);
  if (rest) {
    EXPECT_EQ(rest->size(), group.size() - 1);
    check_all_reduce(*rest, at::kInt, 5);
  }
}

/// Mistakes that a rank notices alone, before anything is sent.
inline void check_shape_errors(Communicator& group) {
  at::Tensor strided = zeros_on(group, {4, 4}, at::kFloat).t();
  EXPECT_THROW(group.all_reduce(strided, ReduceOp::kSum), ShapeError);
  at::Tensor undefined;
  EXPECT_THROW(group.broadcast(undefined, 0), ShapeError);
  at::Tensor x = zeros_on(group, {3}, at::kFloat);
  EXPECT_THROW(group.broadcast(x, group.size()), ShapeError);
  at::Tensor out = zeros_on(group, {group.size() * 3 + 1}, at::kFloat);
  EXPECT_THROW(group.all_gather(out, x), ShapeError);
  at::Tensor wrong_type = zeros_on(group, {group.size() * 3}, at::kDouble);
  EXPECT_THROW(group.all_gather(wrong_type, x), ShapeError);
  EXPECT_THROW(group.exchange({{-1, x}}, {}), ShapeError);
  group.barrier();  // still of use
}

}  // namespace orrery::comm
