// Packing and unpacking of strided blocks: the CPU's against plain indices, the GPU's against the
// CPU's, bit for bit.
#include "blocks/strided_copy.h"
#include "gpu_for_test.h"
#include "kernel_references.h"

namespace orrery::kernels {
namespace {

/// Blocks of `numel` elements in all, in a flat buffer of `size`: some empty, some a single run,
/// some of short rows; no two overlap.
struct Blocks {
  std::vector<StridedCopy> copies;
  std::vector<int64_t> first{0};
  int64_t size = 3;

  explicit Blocks(int64_t numel) {
    for (int64_t left = numel, c = 0; left > 0; ++c) {
      if (c % 4 == 3) add(c % 8 == 3 ? 0 : 5, c % 8 == 3 ? 5 : 0);
      const int64_t rows = std::min(left, c % 3 == 0 ? int64_t{1} : 1 + c * 5 % 37);
      const int64_t length = std::min(left / rows, 1 + c * 31 % 701);
      add(rows, length);
      left -= rows * length;
    }
  }

  int64_t numel() const { return first.back(); }

 private:
  void add(int64_t rows, int64_t length) {
    const int64_t stride = length + rows % 3;
    copies.push_back({size, stride, size, stride, rows, length});
    first.push_back(first.back() + rows * length);
    size += rows * stride + 1;
  }
};

template <class T>
std::vector<T> numbers(int64_t n, uint64_t stream) {
  std::vector<T> result;
  for (const float x : random_numbers<float>(n, stream)) result.push_back(converted<float, T>(x));
  return result;
}

template <class T>
std::vector<double> exact(const std::vector<T>& x) {
  std::vector<double> result;
  for (const T value : x) result.push_back(double(Arithmetic<T>::from(value)));
  return result;
}

/// Everything between one pair of types: `Run` packs and unpacks on the CPU, in blocks or on a GPU.
template <class Source, class Wire, class Run>
void check_pair(const Run& run) {
  for (const int64_t numel : kGpuSizes) {
    SCOPED_TRACE(numel);
    const Blocks blocks(numel);
    ASSERT_EQ(blocks.numel(), numel);
    const auto source = numbers<Source>(blocks.size, 1);
    std::vector<Wire> expected;
    for (const StridedCopy& copy : blocks.copies) {
      for (int64_t row = 0; row < copy.rows; ++row) {
        for (int64_t i = 0; i < copy.length; ++i) {
          expected.push_back(converted<Source, Wire>(
              source[size_t(copy.source_offset + row * copy.source_stride + i)]));
        }
      }
    }
    EXPECT_EQ(exact(run.template packed<Source, Wire>(blocks, source)), exact(expected));

    for (const double eta : {1.0, 0.25, 0.75}) {
      const auto before = numbers<Source>(blocks.size, 2);
      auto after = before;
      for (size_t c = 0, at = 0; c < blocks.copies.size(); ++c) {
        const StridedCopy& copy = blocks.copies[c];
        for (int64_t row = 0; row < copy.rows; ++row) {
          for (int64_t i = 0; i < copy.length; ++i, ++at) {
            using A = Arithmetic<Source>;
            Source& to = after[size_t(copy.destination_offset + row * copy.destination_stride + i)];
            const Source from = converted<Wire, Source>(expected[at]);
            const auto weight = static_cast<typename A::Type>(eta);
            to = eta == 1 ? from : A::to(mixed(A::from(to), A::from(from), weight));
          }
        }
      }
      EXPECT_EQ(exact(run.template unpacked<Wire, Source>(blocks, expected, before, eta)),
                exact(after))
          << "eta " << eta;
    }
  }
}

template <class Run>
void check_every_pair(const Run& run) {
#define ORRERY_CHECK_PAIR(From, To) \
  {                                 \
    SCOPED_TRACE(#From " to " #To); \
    check_pair<From, To>(run);      \
  }
  ORRERY_STRIDED_TYPES(ORRERY_CHECK_PAIR)
}

template <class Source, class Wire>
PackArgs<Source, Wire> pack_args(const Blocks& blocks, const std::vector<Source>& source,
                                 std::vector<Wire>& packed) {
  return {.source = source.data(),
          .copies = blocks.copies.data(),
          .first = blocks.first.data(),
          .n_copies = int64_t(blocks.copies.size()),
          .numel = blocks.numel(),
          .packed = packed.data()};
}

template <class Wire, class Destination>
UnpackArgs<Wire, Destination> unpack_args(const Blocks& blocks, const std::vector<Wire>& packed,
                                          std::vector<Destination>& destination, double eta) {
  return {.packed = packed.data(),
          .copies = blocks.copies.data(),
          .first = blocks.first.data(),
          .n_copies = int64_t(blocks.copies.size()),
          .numel = blocks.numel(),
          .destination = destination.data(),
          .eta = eta};
}

struct OnCpu {
  template <class Source, class Wire>
  std::vector<Wire> packed(const Blocks& blocks, const std::vector<Source>& source) const {
    std::vector<Wire> result(size_t(blocks.numel()));
    pack<Source, Wire>(pack_args(blocks, source, result));
    return result;
  }
  template <class Wire, class Destination>
  std::vector<Destination> unpacked(const Blocks& blocks, const std::vector<Wire>& packed,
                                    std::vector<Destination> destination, double eta) const {
    unpack<Wire, Destination>(unpack_args(blocks, packed, destination, eta));
    return destination;
  }
};

struct InBlocks {
  blocks::ThreadOrder order;

  template <class Source, class Wire>
  std::vector<Wire> packed(const Blocks& blocks, const std::vector<Source>& source) const {
    std::vector<Wire> result(size_t(blocks.numel()));
    blocks::simulate<blocks::PackProgram<Source, Wire>>(pack_args(blocks, source, result), order);
    return result;
  }
  template <class Wire, class Destination>
  std::vector<Destination> unpacked(const Blocks& blocks, const std::vector<Wire>& packed,
                                    std::vector<Destination> destination, double eta) const {
    blocks::simulate<blocks::UnpackProgram<Wire, Destination>>(
        unpack_args(blocks, packed, destination, eta), order);
    return destination;
  }
};

struct OnTheGpu {
  template <class Source, class Wire>
  std::vector<Wire> packed(const Blocks& blocks, const std::vector<Source>& source) const {
    const OnGpu from(source);
    const OnGpu copies(blocks.copies);
    const OnGpu first(blocks.first);
    const OnGpu to(std::vector<Wire>(size_t(blocks.numel())));
    pack_cuda<Source, Wire>({.source = from.get(),
                             .copies = copies.get(),
                             .first = first.get(),
                             .n_copies = int64_t(blocks.copies.size()),
                             .numel = blocks.numel(),
                             .packed = to.get()},
                            nullptr);
    return to.host();
  }
  template <class Wire, class Destination>
  std::vector<Destination> unpacked(const Blocks& blocks, const std::vector<Wire>& packed,
                                    const std::vector<Destination>& destination, double eta) const {
    const OnGpu from(packed);
    const OnGpu copies(blocks.copies);
    const OnGpu first(blocks.first);
    const OnGpu to(destination);
    unpack_cuda<Wire, Destination>({.packed = from.get(),
                                    .copies = copies.get(),
                                    .first = first.get(),
                                    .n_copies = int64_t(blocks.copies.size()),
                                    .numel = blocks.numel(),
                                    .destination = to.get(),
                                    .eta = eta},
                                   nullptr);
    return to.host();
  }
};

TEST(StridedCopy, GathersAndScattersByPlainIndices) { check_every_pair(OnCpu{}); }

TEST(StridedCopy, OverwritesLargeBlocksAndNothingBetweenTheirRows) {
  for (const int64_t length : {15, 16, 701, 1024}) {
    for (const int64_t offset : {0, 1, 7}) {
      SCOPED_TRACE(testing::Message() << "rows of " << length << " from element " << offset);
      const int64_t rows = 160'000 / length, stride = length + 9;
      const StridedCopy copy{0, 0, offset, stride, rows, length};
      const std::vector<int64_t> first{0, copy.numel()};
      const auto packed = numbers<float>(copy.numel(), 1);
      const auto before = numbers<float>(offset + rows * stride, 2);
      auto expected = before;
      for (int64_t i = 0; i < copy.numel(); ++i) {
        expected[size_t(offset + i / length * stride + i % length)] = packed[size_t(i)];
      }
      auto destination = before;
      unpack<float, float>({.packed = packed.data(),
                            .copies = &copy,
                            .first = first.data(),
                            .n_copies = 1,
                            .numel = copy.numel(),
                            .destination = destination.data()});
      EXPECT_EQ(destination, expected);
    }
  }
}

TEST(StridedCopyBlocks, GiveWhatTheCpuGives) {
  for (const auto order : kThreadOrders) check_every_pair(InBlocks{order});
}

TEST(StridedCopyBlocks, FindTheCopyOfAnElementPastEmptyOnes) {
  const std::vector<int64_t> first{0, 0, 4, 4, 4, 5};
  const std::vector<int64_t> expected{1, 1, 1, 1, 4};
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(blocks::copy_with(first.data(), 0, 4, i), expected[size_t(i)]) << i;
  }
}

TEST(StridedCopyCuda, GivesWhatTheCpuGives) {
  ORRERY_NEEDS_GPU();
  check_every_pair(OnTheGpu{});
}

TEST(Bf16, RoundsToTheNearestEven) {
  EXPECT_EQ(to_bf16(1.0F).bits, 0x3f80);
  EXPECT_EQ(to_bf16(1.00390625F).bits, 0x3f80);     // halfway, down to even
  EXPECT_EQ(to_bf16(1.01171875F).bits, 0x3f82);     // halfway, up to even
  EXPECT_EQ(to_bf16(1.004F).bits, 0x3f81);          // above halfway
  EXPECT_EQ(to_bf16(-3.4028235e38F).bits, 0xff80);  // beyond the largest: infinite
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::quiet_NaN()).bits, 0x7fc0);
  for (uint32_t bits = 0; bits < 0x7f80; ++bits) {
    ASSERT_EQ(to_bf16(to_float({uint16_t(bits)})).bits, bits);
  }
}

}  // namespace
}  // namespace orrery::kernels
