#include "orrery/algorithm/registry.h"
#include "orrery/cli/program.h"
#include "short_answers.h"

namespace algorithm = orrery::algorithm;

namespace {

void register_interfaces() {
  algorithm::register_interface("short_answers",
                                algorithm::registration_of<ShortAnswers, ShortAnswersOptions>(
                                    {{.kind = orrery::graph::CallKind::kInference,
                                      .required_inputs = {"packed_input_ids", "prompt_mask"},
                                      .optional_inputs = {},
                                      .outputs = {"rewards"},
                                      .model = algorithm::ModelNeed::kNone}}));
}

}  // namespace

int main(int argc, char** argv) { return orrery::cli::run(argc, argv, register_interfaces); }
