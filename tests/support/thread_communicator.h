// Communicator whose ranks are threads of one process: tests and simulated workers use it. It is
// stricter than the others: every operation blocks until all its ranks are in it (a send until it
// is received), and ranks that meet in different operations are told so at once. So what runs here
// without error cannot deadlock elsewhere for want of buffering.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "orrery/comm/communicator.h"

namespace orrery::comm {

/// The ranks of one group, for one thread each; worker = rank. options.activity is shared by all
/// ranks, so leave it null unless only one of them is of interest. Local.
std::vector<std::unique_ptr<Communicator>> make_thread_communicators(
    int n_ranks, const std::string& name, const CommunicatorOptions& options = {});

/// Runs `body` on n_ranks threads that form a group, and waits for all of them. Rethrows the error
/// of the rank that failed first. Local.
void run_as_threads(int n_ranks, const std::function<void(Communicator&)>& body,
                    const CommunicatorOptions& options = {});

}  // namespace orrery::comm
