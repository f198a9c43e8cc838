// `orrery evaluate`: the evaluations of an experiment without its training, of any model.
#include <iostream>

#include "commands.h"
#include "mpi_job.h"
#include "orrery/base/text.h"
#include "orrery/config/command_line.h"

namespace orrery::cli {

int run_evaluate(std::span<const std::string> arguments) {
  const config::EvaluateOptions options = config::parse_evaluate_options(arguments);
  if (options.help) {
    std::cout << base::concat(
        "orrery evaluate CONFIG --model DIR: what the evaluations of CONFIG find, under mpirun\n\n",
        config::evaluate_options_help(),
        "\nconfiguration keys: orrery train --help; those of [evaluate] and [evaluate.X] say what "
        "is done\n");
    return 0;
  }
  // There is nothing to go on from: one that was ended begins again.
  return run_mpi_job({.config = options.config, .sets = options.sets, .resume = "off"},
                     ModelToEvaluate{.directory = options.model, .run_name = options.name});
}

}  // namespace orrery::cli
