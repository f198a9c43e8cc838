#include "orrery/kernels/instruction_set.h"

#include <gtest/gtest.h>

#include <string_view>

#include "kernel_table.h"
#include "orrery/kernels/split_gemm.h"

namespace orrery::kernels {
namespace {

TEST(InstructionSet, WithoutAmxIsThatOfTheKernelTable) {
  const std::string_view name = instruction_set(Amx::kOff);

  EXPECT_EQ(name == "avx512", best_instruction_set() == InstructionSet::kAvx512);
  EXPECT_EQ(name == "avx2", best_instruction_set() == InstructionSet::kAvx2);
  EXPECT_EQ(name == "sse2" || name == "neon" || name == "baseline",
            best_instruction_set() == InstructionSet::kBaseline);
}

TEST(InstructionSet, IsAmxWhereTheProcessorHasItAndItIsNotOff) {
  if (has_split_gemm()) {
    EXPECT_EQ(instruction_set(Amx::kAuto), "amx");
  } else {
    EXPECT_EQ(instruction_set(Amx::kAuto), instruction_set(Amx::kOff));
  }
}

}  // namespace
}  // namespace orrery::kernels
