// The config.json values of models that people train, read as they are on their pages: the number
// of parameters is the published one, and the layouts that fit are those one expects.
#include <gtest/gtest.h>

#include <cctype>
#include <filesystem>
#include <ostream>
#include <string>

#include "orrery/graph/layout.h"
#include "orrery/model/architecture.h"
#include "orrery/model/parameter_table.h"

namespace orrery::model {
namespace {

struct Shape {
  const char* name;
  int64_t n_parameters;  // of the model's page or its safetensors index; a tied head counts once
  int tensor;            // the largest power of two that cuts it
};

std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.name; }

class RealShape : public testing::TestWithParam<Shape> {
 protected:
  Architecture architecture() const {
    return Architecture::from_hf_config(std::filesystem::path(ORRERY_SOURCE_DIR) /
                                        "tests/fixtures/shapes" / GetParam().name / "config.json");
  }
};

TEST_P(RealShape, HasThePublishedNumberOfParameters) {
  EXPECT_EQ(parameter_table(architecture()).numel, GetParam().n_parameters);
}

TEST_P(RealShape, IsCutByTheTensorDegreesThatItsHeadsAllow) {
  const int largest = GetParam().tensor;

  EXPECT_TRUE(check_layout(architecture(), {.tensor = largest, .pipe = 2}).empty());
  EXPECT_FALSE(check_layout(architecture(), {.tensor = 2 * largest, .pipe = 2}).empty());
}

TEST_P(RealShape, HasAllItsParametersOnFourShards) {
  const Architecture a = architecture();
  int64_t sum = 0;
  for (const int pipe : {0, 1}) {
    for (const int tensor : {0, 1}) {
      const ShardPlace place{.pipe = pipe, .n_pipe = 2, .tensor = tensor, .n_tensor = 2};
      for (const ParameterSpec& spec : parameter_table(a, place).parameters) {
        if (!spec.is_copy) sum += spec.numel;
      }
    }
  }
  EXPECT_EQ(sum, GetParam().n_parameters);
}

INSTANTIATE_TEST_SUITE_P(
    Models, RealShape,
    testing::Values(Shape{"qwen2.5-0.5b", 494'032'768, 2}, Shape{"qwen2.5-1.5b", 1'543'714'304, 4},
                    Shape{"qwen2.5-7b", 7'615'616'512, 4}, Shape{"qwen3-0.6b", 596'049'920, 16},
                    Shape{"qwen3-4b", 4'022'468'096, 32}, Shape{"qwen3-8b", 8'190'735'360, 32},
                    Shape{"llama-3.2-1b", 1'235'814'400, 32},
                    Shape{"llama-3.1-8b", 8'030'261'248, 32},
                    Shape{"r1-distill-qwen-1.5b", 1'777'088'000, 4},
                    Shape{"r1-distill-qwen-7b", 7'615'616'512, 4},
                    Shape{"r1-distill-qwen-14b", 14'770'033'664, 8},
                    Shape{"r1-distill-qwen-32b", 32'763'876'352, 8},
                    Shape{"r1-distill-llama-8b", 8'030'261'248, 32},
                    Shape{"r1-distill-llama-70b", 70'553'706'496, 64}),
    [](const auto& of) {
      std::string name = of.param.name;
      for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

}  // namespace
}  // namespace orrery::model
