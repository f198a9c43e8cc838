#include "nccl_group.h"

#include <algorithm>
#include <array>
#include <set>
#include <sstream>
#include <vector>

#include "nccl_reduce.h"
#include "rules.h"

namespace orrery::simulated_gpu {

std::size_t Call::bytes() const { return count * size_of_element(type); }

std::size_t Call::input_bytes(int n_ranks) const {
  if (kind == kReceive) return 0;
  return kind == kReduceScatter ? bytes() * static_cast<std::size_t>(n_ranks) : bytes();
}

std::size_t Call::output_bytes(int n_ranks) const {
  if (kind == kSend) return 0;
  return kind == kAllGather ? bytes() * static_cast<std::size_t>(n_ranks) : bytes();
}

std::string Call::name() const {
  constexpr std::array kNames = {"all-reduce", "all-gather", "reduce-scatter",
                                 "broadcast",  "send",       "receive"};
  return kNames.at(static_cast<std::size_t>(kind));
}

std::string Call::text() const {
  std::ostringstream text;
  text << name() << " of " << count << " elements of NCCL's type " << type;
  if (kind == kAllReduce || kind == kReduceScatter) text << ", reduction " << op;
  if (root >= 0) text << (is_message() ? ", peer " : ", root ") << root;
  return text.str();
}

namespace {
std::set<ncclComm_t>& known() {
  static auto* const all = new std::set<ncclComm_t>;
  return *all;
}
}  // namespace

ncclComm_t keep(std::unique_ptr<ncclComm> comm) { return *known().insert(comm.release()).first; }

ncclComm_t find(ncclComm_t handle) { return known().count(handle) > 0 ? handle : nullptr; }

}  // namespace orrery::simulated_gpu

namespace sim = orrery::simulated_gpu;

ncclComm::ncclComm(sim::Mailbox its_box, int its_rank, int its_size, int its_device)
    : box(std::move(its_box)), rank(its_rank), size(its_size), device(its_device) {
  meet("here", std::to_string(device));
}

std::string ncclComm::text() const {
  return "NCCL, rank " + std::to_string(rank) + " of " + std::to_string(size) + " of " + box.name();
}

ncclResult_t ncclComm::refuse(const std::string& what) {
  sim::break_rule(text() + ": " + what);
  return state = ncclInvalidUsage;
}

void ncclComm::meet(std::string name, const std::string& note) {
  meeting = std::move(name);
  state = ncclInProgress;
  polls_left = 1;
  box.put(meeting + "." + std::to_string(rank), note);
}

bool ncclComm::all_have_met() {
  for (int r = 0; r < size; ++r) {
    if (!box.has(meeting + "." + std::to_string(r)) && !box.is_gone()) return false;
  }
  if (meeting == "here") {
    std::set<std::string> devices;
    for (int r = 0; r < size; ++r) devices.insert(box.get("here." + std::to_string(r)));
    if (static_cast<int>(devices.size()) < size) refuse("two ranks use one GPU");
  }
  if (split) finish_split();
  return true;
}

void ncclComm::finish_split() {
  std::vector<std::pair<int, int>> members;  // key, rank here
  for (int r = 0; r < size; ++r) {
    std::istringstream note(box.get(meeting + "." + std::to_string(r)));
    int colour = 0, key = 0;
    note >> colour >> key;
    if (colour == split->colour) members.emplace_back(key, r);
  }
  std::sort(members.begin(), members.end());
  const auto place = std::find_if(members.begin(), members.end(),
                                  [this](const auto& m) { return m.second == rank; });
  if (split->colour != NCCL_SPLIT_NOCOLOR) {
    *split->result = sim::keep(std::make_unique<ncclComm>(
        box.inner(split->name + "c" + std::to_string(split->colour)),
        static_cast<int>(place - members.begin()), static_cast<int>(members.size()), device));
  }
  split.reset();
}

ncclResult_t ncclComm::poll() {
  if (state != ncclInProgress) return state;
  if (end == "finalized" && n_under_way > 0) return state;
  if (!meeting.empty()) {
    if (!all_have_met()) return state;
    meeting.clear();
  }
  if (state == ncclInProgress && polls_left-- <= 0) state = ncclSuccess;
  return state;
}
