// Where what this process writes to standard error is seen. Any thread.
//
// A rank of mpirun has a pipe there, from which mpirun copies to its own standard error as the
// bytes come: what is a terminal to the person is none to isatty(). (As standard output mpirun
// gives every rank a pseudo terminal, also when nobody sees one.) Under srun, and for a rank that
// another node's daemon started, there is none.
#pragma once

namespace orrery::base {

/// Whether standard error ends on a terminal that can rewrite a line: its own, or that of the
/// mpirun that started this process. Not where TERM is `dumb` or not set.
bool is_seen_on_terminal();

/// Columns of that terminal as it is now; 80 where there is none, or where it does not say.
int seen_columns();

/// Columns of the terminal that standard output is; 80 where it is none or has fewer than 40, too
/// few for a picture.
int standard_output_columns();

/// Whether standard output is a terminal that can go back to an earlier line. Not where TERM is
/// `dumb` or not set.
bool can_draw_on_standard_output();

/// The same for colours: not where NO_COLOR says something either.
bool can_colour_standard_output();

}  // namespace orrery::base
