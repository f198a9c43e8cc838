// What a process inherits from whoever started it and what the program relies on: standard streams,
// the mask of new files, the stack. First thing in main, while there is one thread.
#pragma once

namespace orrery::cli {

/// Opens standard streams that are closed, so that no file or socket of the program gets their
/// numbers: input is then empty, and to write to standard output stays an error. Files that the
/// program makes are never writable for everyone. Returns why the program cannot run here, or null.
const char* prepare_process();

}  // namespace orrery::cli
