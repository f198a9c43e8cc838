// Messages as bytes. A message is an envelope of fixed size and the message (cereal). Both ends run
// the same program, so the only promise about versions is that two builds that differ notice it.
// Local; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "orrery/comm/message.h"

namespace orrery::comm {

/// What the envelope says the rest is.
enum class MessageKind : uint32_t { kRequest = 1, kReply = 2 };

/// In front of every message; fixed layout, host byte order (one kind of machine per job).
struct Envelope {
  static constexpr uint32_t kMagic = 0x4f525259;  // "YRRO" in memory: not ours otherwise
  static constexpr uint32_t kVersion = 6;         // grows whenever a message changes

  uint32_t magic = kMagic;
  uint32_t version = kVersion;
  MessageKind kind = MessageKind::kRequest;
  int32_t call = -1;      ///< for error texts, as are id and handle
  uint64_t sequence = 0;  ///< per direction and worker from 0 without gaps
  uint64_t id = 0;        ///< of the request
  uint64_t body_bytes = 0;
};
static_assert(sizeof(Envelope) == 40, "no padding: the bytes are sent as they are");

/// Whole messages: what is to be sent.
std::string frame_request(const Request& request, uint64_t sequence);
std::string frame_reply(const Reply& reply, uint64_t sequence);

/// Reads the envelope at the beginning of `bytes`. Throws ProtocolError: too short, not ours, or
/// of another version.
Envelope read_envelope(std::string_view bytes);

/// `bytes` is a whole message. Throws ProtocolError when it is malformed, is of another kind, or
/// its number is not `expected_sequence`. `from` names the sender in error texts: `worker 3`.
Request read_request(std::string_view bytes, uint64_t expected_sequence);
Reply read_reply(std::string_view bytes, uint64_t expected_sequence, std::string_view from);

}  // namespace orrery::comm
