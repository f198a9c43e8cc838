// Messages that ranks leave for each other by name, be they threads or processes of this machine:
// files of a folder in memory, which are complete or not there.
#pragma once

#include <string>
#include <string_view>

namespace orrery::simulated_gpu {

class Mailbox {
 public:
  /// Names of this box begin with `prefix`.
  explicit Mailbox(std::string folder, std::string prefix = {})
      : folder_(std::move(folder)), prefix_(std::move(prefix)) {}

  /// A folder that this process removes when it ends; those of dead processes go at once.
  static std::string new_folder();

  void put(const std::string& name, std::string_view bytes) const;
  bool has(const std::string& name) const;
  std::string get(const std::string& name) const;
  void remove(const std::string& name) const;
  /// The folder's process has ended, and with it whatever was awaited here.
  bool is_gone() const;

  Mailbox inner(const std::string& name) const { return Mailbox(folder_, prefix_ + name + "."); }
  std::string name() const { return prefix_.empty() ? "world" : prefix_; }

 private:
  std::string path_of(const std::string& name) const { return folder_ + "/" + prefix_ + name; }

  std::string folder_, prefix_;
};

}  // namespace orrery::simulated_gpu
