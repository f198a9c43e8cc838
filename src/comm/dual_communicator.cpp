#include "orrery/comm/dual_communicator.h"

#include <utility>

#include "orrery/base/error.h"

namespace orrery::comm {

namespace {

/// The backends see to it that ranks agree.
CommunicatorOptions without_agreement(CommunicatorOptions options) {
  options.check_agreement = false;
  return options;
}

class DualCommunicator final : public Communicator {
 public:
  DualCommunicator(std::unique_ptr<Communicator> host, std::unique_ptr<Communicator> gpus)
      : Communicator(host->name(), host->rank(), host->workers(),
                     without_agreement(host->options())),
        host_(std::move(host)),
        gpus_(std::move(gpus)) {
    ORRERY_ASSERT(gpus_->workers() == workers() && gpus_->rank() == rank(), "the same ranks");
  }

  at::DeviceType device_type() const override { return host_->device_type(); }
  bool carries(at::DeviceType type) const override {
    return host_->carries(type) || gpus_->carries(type);
  }
  void set_deadline(std::chrono::duration<double> deadline) override {
    Communicator::set_deadline(deadline);
    host_->set_deadline(deadline);
    gpus_->set_deadline(deadline);
  }
  void throw_if_failed() override {
    host_->throw_if_failed();
    gpus_->throw_if_failed();
  }
  void watch(std::string_view operation) override { gpus_->watch(operation); }
  bool checks_agreement() const override { return gpus_->checks_agreement(); }

 private:
  Communicator& backend_of(const at::Tensor& x) {
    return host_->carries(x.device().type()) ? *host_ : *gpus_;
  }

  void do_all_reduce(at::Tensor& x, ReduceOp op) override { backend_of(x).all_reduce(x, op); }
  void do_all_gather(at::Tensor& out, const at::Tensor& in) override {
    backend_of(in).all_gather(out, in);
  }
  void do_reduce_scatter(at::Tensor& out, const at::Tensor& in, ReduceOp op) override {
    backend_of(in).reduce_scatter(out, in, op);
  }
  void do_broadcast(at::Tensor& x, int root) override { backend_of(x).broadcast(x, root); }
  void do_gather(at::Tensor& out, const at::Tensor& in, int root) override {
    backend_of(in).gather(out, in, root);
  }
  void do_scatter(at::Tensor& out, const at::Tensor& in, int root) override {
    backend_of(out).scatter(out, in, root);
  }

  void do_exchange(std::string_view, std::span<const Send> sends, std::span<const Receive> receives,
                   const OnReceived& on_received) override {
    // The host's on all ranks first: no two wait for each other in different orders.
    for (Communicator* const backend : {host_.get(), gpus_.get()}) {
      std::vector<Send> own_sends;
      std::vector<Receive> own_receives;
      std::vector<std::size_t> places;
      for (const Send& send : sends) {
        if (&backend_of(send.tensor) == backend) own_sends.push_back(send);
      }
      for (std::size_t i = 0; i < receives.size(); ++i) {
        if (&backend_of(receives[i].tensor) != backend) continue;
        own_receives.push_back(receives[i]);
        places.push_back(i);
      }
      if (own_sends.empty() && own_receives.empty()) continue;
      backend->exchange(own_sends, own_receives, [&](std::size_t i) { on_received(places.at(i)); });
    }
  }

  void do_barrier() override { host_->barrier(); }

  std::unique_ptr<Communicator> do_split(int colour, int key, std::string name) override {
    std::unique_ptr<Communicator> host = host_->split(colour, key, name);
    std::unique_ptr<Communicator> gpus = gpus_->split(colour, key, std::move(name));
    if (!host) return nullptr;
    return make_dual_communicator(std::move(host), std::move(gpus));
  }

  std::unique_ptr<Communicator> host_, gpus_;
};

}  // namespace

std::unique_ptr<Communicator> make_dual_communicator(std::unique_ptr<Communicator> host,
                                                     std::unique_ptr<Communicator> gpus) {
  return std::make_unique<DualCommunicator>(std::move(host), std::move(gpus));
}

}  // namespace orrery::comm
