#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <vector>

namespace orrery::simulated_gpu {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kAlignment = 256;  // of cudaMalloc, as its documentation has it
constexpr std::size_t kAddresses = std::size_t{256} << 30;  // of a device; pages come when touched

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "simulated GPU: %s\n", what);
  std::abort();
}

std::size_t number_from_environment(const char* name, std::size_t otherwise) {
  const char* const text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::size_t in_pages(std::size_t size_bytes) { return (size_bytes + kPage - 1) / kPage * kPage; }

/// A block's pages, of which the last one ends with it as nearly as its alignment allows.
struct Pages {
  char* begin = nullptr;
  std::size_t size_bytes = 0;
};

class Device {
 public:
  Device() {
    const int file = ::memfd_create("simulated-gpu", MFD_CLOEXEC);
    if (file < 0 || ::ftruncate(file, static_cast<off_t>(kAddresses)) != 0)
      give_up("no memory file");
    seen_ = map(file, PROT_NONE);
    used_ = map(file, PROT_READ | PROT_WRITE);
    ::close(file);
  }

  void* allocate(std::size_t size_bytes) {
    const std::size_t aligned = (size_bytes + kAlignment - 1) / kAlignment * kAlignment;
    const Pages pages{seen_ + next_, in_pages(aligned)};
    if (in_use_ + size_bytes > memory_of_device() ||
        next_ + pages.size_bytes + kPage > kAddresses) {
      throw std::bad_alloc();
    }
    next_ += pages.size_bytes + kPage;  // and one that is never opened
    char* const begin = pages.begin + (pages.size_bytes - aligned);
    std::memset(pages.begin + distance(), 0xFF, pages.size_bytes);
    blocks_[begin] = {size_bytes, pages};
    in_use_ += size_bytes;
    return begin;
  }

  /// False: no live block begins here.
  bool release(char* begin) {
    const auto found = blocks_.find(begin);
    if (found == blocks_.end()) return false;
    const Pages& pages = found->second.pages;
    ::madvise(pages.begin + distance(), pages.size_bytes, MADV_REMOVE);
    ::mprotect(pages.begin + distance(), pages.size_bytes, PROT_NONE);
    in_use_ -= found->second.size_bytes;
    blocks_.erase(found);
    return true;
  }

  bool contains(const char* address) const {
    return address >= seen_ && address < seen_ + kAddresses;
  }
  std::ptrdiff_t distance() const { return used_ - seen_; }
  std::size_t in_use() const { return in_use_; }

  std::optional<Block> block_at(const char* address, int device) const {
    auto after = blocks_.upper_bound(const_cast<char*>(address));
    if (after == blocks_.begin()) return std::nullopt;
    --after;
    if (address >= after->first + after->second.size_bytes) return std::nullopt;
    return Block{device, after->first, after->second.size_bytes};
  }

  void open(int protection) const {
    for (const auto& [begin, block] : blocks_) {
      ::mprotect(block.pages.begin, block.pages.size_bytes, protection);
    }
  }

 private:
  struct Live {
    std::size_t size_bytes = 0;
    Pages pages;
  };

  static char* map(int file, int protection) {
    void* const memory =
        ::mmap(nullptr, kAddresses, protection, MAP_SHARED | MAP_NORESERVE, file, 0);
    if (memory == MAP_FAILED) give_up("no addresses left");
    return static_cast<char*>(memory);
  }

  char* seen_ = nullptr;  // by programs
  char* used_ = nullptr;  // by work on streams
  std::size_t next_ = 0, in_use_ = 0;
  std::map<char*, Live> blocks_;
};

struct Memory {
  std::recursive_mutex lock;
  std::vector<Device> devices = std::vector<Device>(static_cast<std::size_t>(n_devices()));
  std::map<const char*, std::size_t> pinned;
  std::size_t pinned_bytes = 0, most_pinned_bytes = 0;

  int device_of(const char* address) const {
    for (std::size_t i = 0; i < devices.size(); ++i) {
      if (devices[i].contains(address)) return static_cast<int>(i);
    }
    return -1;
  }
  Device& at(int device) { return devices.at(static_cast<std::size_t>(device)); }
};

struct sigaction handler_before;

/// Says what a fault in a device's memory was before the program ends of it.
void explain_fault(int signal, siginfo_t* info, void* context);

Memory& memory() {
  static Memory* const all = [] {
    auto* const made = new Memory;
    struct sigaction action = {};
    action.sa_sigaction = explain_fault;
    action.sa_flags = SA_SIGINFO | SA_RESETHAND;
    ::sigaction(SIGSEGV, &action, &handler_before);
    return made;
  }();
  return *all;
}
using Lock = std::lock_guard<std::recursive_mutex>;

void explain_fault(int, siginfo_t* info, void*) {
  const char* const address = static_cast<const char*>(info->si_addr);
  const int device = memory().device_of(address);
  if (device >= 0) {
    const auto block = memory().at(device).block_at(address, device);
    char text[200];
    const int n = std::snprintf(
        text, sizeof text,
        "simulated GPU: address %p of device %d was used by the host or by another device's work, "
        "%s\n",
        static_cast<const void*>(address), device,
        block ? "inside a live block" : "where there is no live block (beyond one, or freed)");
    if (::write(STDERR_FILENO, text, static_cast<std::size_t>(n)) < 0) std::abort();
  }
  ::sigaction(SIGSEGV, &handler_before,
              nullptr);  // the access is tried again, and ends the program
}

}  // namespace

int n_devices() {
  static const auto n = static_cast<int>(number_from_environment("SIMULATED_GPUS", 1));
  if (n < 0 || n > 16) give_up("SIMULATED_GPUS must be 0 to 16");
  return n;
}

std::size_t memory_of_device() {
  static const std::size_t size =
      number_from_environment("SIMULATED_GPU_BYTES", std::size_t{16} << 30);
  return size;
}

void* allocate(int device, std::size_t size_bytes) {
  const Lock lock(memory().lock);
  return memory().at(device).allocate(size_bytes);
}

void release(void* begin) {
  const Lock lock(memory().lock);
  const int device = memory().device_of(static_cast<char*>(begin));
  if (device < 0 || !memory().at(device).release(static_cast<char*>(begin))) {
    give_up("memory was freed that is no block (twice, or in its middle?)");
  }
}

bool is_on_device(const void* address) {
  return memory().device_of(static_cast<const char*>(address)) >= 0;
}

std::optional<Block> block_at(const void* address) {
  const Lock lock(memory().lock);
  const int device = memory().device_of(static_cast<const char*>(address));
  if (device < 0) return std::nullopt;
  return memory().at(device).block_at(static_cast<const char*>(address), device);
}

std::size_t room_at(const void* address) {
  const std::optional<Block> block = block_at(address);
  if (!block) return 0;
  return static_cast<std::size_t>(block->begin + block->size_bytes -
                                  static_cast<const char*>(address));
}

std::size_t bytes_in_use(int device) {
  const Lock lock(memory().lock);
  return memory().at(device).in_use();
}

void* view(const void* address) {
  auto* const same = const_cast<char*>(static_cast<const char*>(address));
  const int device = memory().device_of(same);
  return device < 0 ? same : same + memory().at(device).distance();
}

Opened::Opened(int device) : device_(device) {
  memory().lock.lock();
  memory().at(device).open(PROT_READ | PROT_WRITE);
}

Opened::~Opened() {
  memory().at(device_).open(PROT_NONE);
  memory().lock.unlock();
}

void* allocate_pinned(std::size_t size_bytes) {
  void* const begin = ::mmap(nullptr, in_pages(size_bytes), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (begin == MAP_FAILED) throw std::bad_alloc();
  std::memset(begin, 0xFF, size_bytes);
  const Lock lock(memory().lock);
  Memory& all = memory();
  all.pinned[static_cast<const char*>(begin)] = size_bytes;
  all.pinned_bytes += size_bytes;
  all.most_pinned_bytes = std::max(all.most_pinned_bytes, all.pinned_bytes);
  return begin;
}

void release_pinned(void* begin) {
  const Lock lock(memory().lock);
  const auto found = memory().pinned.find(static_cast<const char*>(begin));
  if (found == memory().pinned.end()) give_up("pinned memory was freed that is no block");
  ::munmap(begin, in_pages(found->second));  // who uses it later faults
  memory().pinned_bytes -= found->second;
  memory().pinned.erase(found);
}

std::size_t pinned_bytes() {
  const Lock lock(memory().lock);
  return memory().pinned_bytes;
}
std::size_t most_pinned_bytes() {
  const Lock lock(memory().lock);
  return memory().most_pinned_bytes;
}
void forget_most_pinned() {
  const Lock lock(memory().lock);
  memory().most_pinned_bytes = memory().pinned_bytes;
}

bool is_pinned(const void* address) {
  const Lock lock(memory().lock);
  const auto* const at = static_cast<const char*>(address);
  auto after = memory().pinned.upper_bound(at);
  if (after == memory().pinned.begin()) return false;
  --after;
  return at < after->first + after->second;
}

}  // namespace orrery::simulated_gpu
