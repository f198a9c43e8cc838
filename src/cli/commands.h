// The subcommands. Each takes the arguments after its name and returns the exit code; errors are
// thrown and caught once, in main.
#pragma once

#include <span>
#include <string>

namespace orrery::cli {

/// `orrery train CONFIG ...` under mpirun or srun. Collective over all ranks.
int run_train(std::span<const std::string> arguments);

/// `orrery evaluate CONFIG ...` in the same way: its evaluations without its training.
int run_evaluate(std::span<const std::string> arguments);

/// `orrery plan CONFIG ...`: prints what a run would be; starts nothing.
int run_plan(std::span<const std::string> arguments);

// The next three run alone or, under mpirun or srun, collectively over all ranks.

/// `orrery score`: log-probabilities of given tokens.
int run_score(std::span<const std::string> arguments);

/// `orrery generate`: continues prompts.
int run_generate(std::span<const std::string> arguments);

// The next three are one process's work.

/// `orrery convert`: a model from one form to another.
int run_convert(std::span<const std::string> arguments);

/// `orrery inspect PATH`: what it holds, as tables.
int run_inspect(std::span<const std::string> arguments);

/// `orrery verify PATH`: is everything what it claims to be?
int run_verify(std::span<const std::string> arguments);

/// `orrery doctor`: would a job run here, and how fast?
int run_doctor(std::span<const std::string> arguments);

// These look at run directories, also while a job writes them.

/// `orrery report RUN...`: one page for a browser.
int run_report(std::span<const std::string> arguments);

/// `orrery watch RUN`: a run in the terminal while it goes on.
int run_watch(std::span<const std::string> arguments);

/// `orrery plot RUN... METRIC...`: curves in the terminal, as SVG or PNG.
int run_plot(std::span<const std::string> arguments);

/// `orrery compare A B`: what differs between two runs.
int run_compare(std::span<const std::string> arguments);

/// A mistake in the command line, found before MPI is there to agree: rank 0 says it, the others
/// leave it the time to.
void say_once(const std::string& text);

}  // namespace orrery::cli
