#include "orrery/comm/serialise.h"

#include <array>
#include <cereal/archives/binary.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/variant.hpp>
#include <cereal/types/vector.hpp>
#include <cstring>  // memcpy
#include <sstream>
#include <streambuf>
#include <utility>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::comm {

namespace {

/// Reads bytes where they are: istringstream would copy them.
class ByteSource : public std::streambuf {
 public:
  explicit ByteSource(std::string_view bytes) {
    char* begin = const_cast<char*>(bytes.data());  // a get area is only read
    setg(begin, begin, begin + bytes.size());
  }
  std::size_t left() const { return static_cast<std::size_t>(egptr() - gptr()); }
};

/// Appends to a string: ostringstream would copy at the end.
class ByteSink : public std::streambuf {
 public:
  explicit ByteSink(std::string& bytes) : bytes_(bytes) {}

 protected:
  std::streamsize xsputn(const char* data, std::streamsize size) override {
    bytes_.append(data, static_cast<std::size_t>(size));
    return size;
  }
  int_type overflow(int_type byte) override {
    if (byte != traits_type::eof()) bytes_.push_back(traits_type::to_char_type(byte));
    return byte;
  }

 private:
  std::string& bytes_;
};

template <class Message>
void append(std::string& bytes, const Message& message) {
  ByteSink sink(bytes);
  std::ostream stream(&sink);
  cereal::BinaryOutputArchive archive(stream);
  archive(message);
}

std::string label(const Envelope& envelope) {
  return base::concat(envelope.kind == MessageKind::kReply ? "reply" : "request", " id ",
                      envelope.id, ", call ", envelope.call, ", sequence ", envelope.sequence);
}

/// All of `bytes` must be used.
template <class Message>
Message parse(std::string_view bytes, const Envelope& envelope) {
  Message message;
  ByteSource source(bytes);
  std::istream stream(&source);
  try {
    cereal::BinaryInputArchive archive(stream);
    archive(message);
  } catch (const std::exception& error) {  // cereal's own, bad_alloc, length_error
    throw ProtocolError(base::concat("message is damaged: ", label(envelope)),
                        {.expected = base::concat(bytes.size(), " bytes that make sense"),
                         .got = error.what(),
                         .advice = "check that all ranks run the same program file"});
  }
  if (source.left() != 0) {
    throw ProtocolError(base::concat("message is damaged: ", label(envelope)),
                        {.expected = base::concat("all of ", bytes.size(), " bytes in use"),
                         .got = base::concat(source.left(), " bytes left over"),
                         .advice = "check that all ranks run the same program file"});
  }
  return message;
}

template <class Message>
std::string make_frame(const Message& message, Envelope envelope) {
  std::string frame(sizeof(Envelope), '\0');
  append(frame, message);
  envelope.body_bytes = frame.size() - sizeof(Envelope);
  std::memcpy(frame.data(), &envelope, sizeof(Envelope));
  return frame;
}

Envelope read_checked(std::string_view bytes, MessageKind kind, uint64_t expected_sequence,
                      std::string_view from) {
  const Envelope envelope = read_envelope(bytes);
  if (envelope.kind != kind) {
    throw ProtocolError(base::concat("unexpected kind of message from ", from),
                        {.expected = base::concat("kind ", static_cast<uint32_t>(kind)),
                         .got = base::concat("kind ", static_cast<uint32_t>(envelope.kind)),
                         .advice = "this is a fault of the program: report it"});
  }
  if (envelope.sequence != expected_sequence) {
    throw ProtocolError(
        base::concat("messages from ", from, " are out of sequence"),
        {.expected = base::concat("sequence ", expected_sequence),
         .got = base::concat("sequence ", envelope.sequence, " (", label(envelope), ")"),
         .advice = "a message was lost or sent twice: the run cannot go on; report it"});
  }
  const uint64_t body = bytes.size() - sizeof(Envelope);
  if (envelope.body_bytes != body) {
    throw ProtocolError(
        base::concat("message from ", from, " has the wrong size: ", label(envelope)),
        {.expected = base::concat(envelope.body_bytes, " bytes"),
         .got = base::concat(body, " bytes"),
         .advice = "check that all ranks run the same program file"});
  }
  return envelope;
}

}  // namespace

std::string frame_request(const Request& request, uint64_t sequence) {
  return make_frame(request, {.kind = MessageKind::kRequest,
                              .call = request.call,
                              .sequence = sequence,
                              .id = request.id});
}

std::string frame_reply(const Reply& reply, uint64_t sequence) {
  return make_frame(
      reply,
      {.kind = MessageKind::kReply, .call = reply.call, .sequence = sequence, .id = reply.request});
}

Envelope read_envelope(std::string_view bytes) {
  Envelope envelope;
  if (bytes.size() < sizeof(Envelope)) {
    throw ProtocolError("message is too short",
                        {.expected = base::concat("at least ", sizeof(Envelope), " bytes"),
                         .got = base::concat(bytes.size(), " bytes"),
                         .advice = "check that nothing else uses the control communicator"});
  }
  std::memcpy(&envelope, bytes.data(), sizeof(Envelope));
  if (envelope.magic != Envelope::kMagic) {
    throw ProtocolError("message is not one of Orrery's",
                        {.expected = base::concat("magic ", Envelope::kMagic),
                         .got = base::concat("magic ", envelope.magic),
                         .advice = "check that nothing else uses the control communicator"});
  }
  if (envelope.version != Envelope::kVersion) {
    throw ProtocolError("message of another version of the program",
                        {.expected = base::concat("version ", Envelope::kVersion),
                         .got = base::concat("version ", envelope.version),
                         .advice = "start all ranks from the same build"});
  }
  return envelope;
}

Request read_request(std::string_view bytes, uint64_t expected_sequence) {
  const Envelope envelope =
      read_checked(bytes, MessageKind::kRequest, expected_sequence, "the master");
  auto request = parse<Request>(bytes.substr(sizeof(Envelope)), envelope);
  request.sequence = envelope.sequence;
  return request;
}

Reply read_reply(std::string_view bytes, uint64_t expected_sequence, std::string_view from) {
  const Envelope envelope = read_checked(bytes, MessageKind::kReply, expected_sequence, from);
  return parse<Reply>(bytes.substr(sizeof(Envelope)), envelope);
}

}  // namespace orrery::comm
