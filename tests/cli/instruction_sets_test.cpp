#include "instruction_sets.h"

#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

using Sets = std::vector<std::string>;

TEST(InstructionSets, AreNamedOnceWhereAllWorkersHaveTheSame) {
  EXPECT_EQ(instruction_sets_text({"amx", "amx"}), "amx");
  EXPECT_EQ(instruction_sets_text({"avx2", "amx", "amx"}), "amx on 2 workers, avx2 on 1 worker");
}

TEST(InstructionSets, OfAnotherProcessorChangeTheLastBits) {
  EXPECT_EQ(changed_instruction_sets({"amx", "amx"}, {"avx512", "avx512"}),
            "was computed with amx, goes on with avx512: numbers will differ in the last bits from "
            "those of a run that was not interrupted");
  EXPECT_TRUE(changed_instruction_sets({"amx", "avx2"}, {"avx2", "amx"}));
}

TEST(InstructionSets, ThatAreTheSameSayNothing) {
  EXPECT_FALSE(changed_instruction_sets({"amx", "avx2"}, {"amx", "avx2"}));
}

TEST(InstructionSets, OfAnotherNumberOfWorkersAreComparedByTheirKinds) {
  EXPECT_FALSE(changed_instruction_sets({"amx", "amx"}, {"amx"}));
  EXPECT_TRUE(changed_instruction_sets({"amx", "amx"}, {"avx2"}));
  EXPECT_TRUE(changed_instruction_sets({"amx"}, {"amx", "avx2"}));
}

TEST(InstructionSets, ThatNobodyRecordedSayNothing) {
  EXPECT_FALSE(changed_instruction_sets({}, {"amx"}));
}

}  // namespace
}  // namespace orrery::cli
