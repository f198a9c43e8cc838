#include "orrery/comm/control_channel.h"

namespace orrery::comm {

void ControlChannel::flush() {
  for (int worker = 0; worker < n_workers(); ++worker) send(worker, {.kind = RequestKind::kFlush});
}

void ControlChannel::send_exit() {
  for (int worker = 0; worker < n_workers(); ++worker) send(worker, {.kind = RequestKind::kExit});
}

}  // namespace orrery::comm
