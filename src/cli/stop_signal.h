// The signals that ask a job to stop: SIGUSR1 (Slurm's warning of the time limit), SIGTERM, SIGINT
// (Ctrl-C under srun; mpirun makes SIGTERM of it). What they do depends on how far the job is. They
// are dealt with from the first line of main on: their default would end the process with 138, 143
// or 130, which tells a batch script to give up.
//
//   main ---- ranks check, index, look for a checkpoint ---- run directory ---- steps --------- end
//        rank 0: ends the job with 85: nothing has begun    |  noted: checkpoint, exit 85
//        workers: nothing: rank 0 decides for all           |  nothing
#pragma once

namespace orrery::cli {

/// The process ends with 85 when such a signal comes, with a line on standard error. For the time
/// in which there is nothing to save. Main thread, as the others here.
void exit_on_stop_signals();

/// From now on a signal is only noted.
void note_stop_signals();
bool is_stop_requested();

/// Workers: nothing; the master decides when to stop.
void ignore_stop_signals();

}  // namespace orrery::cli
