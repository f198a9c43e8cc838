// Places at which tests let the program fail: `ORRERY_FAULT=checkpoint.rename:kill` ends the
// process where `fault_point("checkpoint.rename")` stands. Without the variable a point costs one
// branch.
#pragma once

namespace orrery::base {

/// ORRERY_FAULT is `POINT:ACTION[:N]`, for the N-th time (from 1) that this process passes POINT.
///   kill   SIGKILL to itself
///   exit   ends the process at once with exit code 0
///   memory throws std::bad_alloc
///   error  throws OutputError as a failing disk would
///   slow   waits for 0.2 s, this time and all later ones
///   nan    nothing here; see fault_value()
/// Any thread.
void fault_point(const char* name);

/// A point that a number passes through: NaN where the action `nan` is due, else `value`.
double fault_value(const char* name, double value);

}  // namespace orrery::base
