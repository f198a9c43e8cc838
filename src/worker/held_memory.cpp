#include "orrery/worker/held_memory.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "orrery/base/text.h"

namespace orrery::worker {

namespace {

constexpr size_t kMostBuffers = 20;

struct Buffer {
  std::string owner;
  int64_t size_bytes = 0;
};

void add(std::vector<Buffer>& buffers, const std::string& owner, const at::Tensor& buffer) {
  if (!buffer.defined() || buffer.is_cpu()) return;  // offloaded
  if (buffer.storage().data() == nullptr) return;    // likewise, or released
  buffers.push_back({owner, static_cast<int64_t>(buffer.nbytes())});
}

}  // namespace

std::string held_text(HostedModels& models, int64_t peak_bytes) {
  std::vector<Buffer> buffers;
  for (auto& [id, hosted] : models.all()) {
    if (hosted.decoder == nullptr) continue;
    model::FlatParameters& parameters = hosted.decoder->parameters();
    const std::string of = " of " + id.text();
    add(buffers, "parameters" + of, parameters.stored());
    if (!parameters.stored().is_same(parameters.values())) {
      add(buffers, "parameters to compute with" + of, parameters.values());
    }
    if (parameters.has_gradients()) add(buffers, "gradients" + of, parameters.gradients());
    if (const int64_t size = hosted.decoder->activation_bytes(); size > 0) {
      buffers.push_back({"activations" + of, size});
    }
    add(buffers, "moving average in fp32" + of, hosted.shadow);
    if (hosted.engine == nullptr) continue;
    const parallel::AdamW& optimizer = hosted.engine->optimizer();
    add(buffers, "first moments" + of, optimizer.first_moment());
    add(buffers, "second moments" + of, optimizer.second_moment());
    add(buffers, "master weights" + of, optimizer.master_weights());
  }
  int64_t own = peak_bytes;
  for (const Buffer& buffer : buffers) own -= buffer.size_bytes;
  if (own > 0) buffers.push_back({"what this operation itself took", own});
  std::stable_sort(buffers.begin(), buffers.end(),
                   [](const Buffer& a, const Buffer& b) { return a.size_bytes > b.size_bytes; });
  if (buffers.size() > kMostBuffers) buffers.resize(kMostBuffers);
  std::vector<std::string> texts;
  for (const auto& [owner, size_bytes] : buffers) {
    texts.push_back(base::concat(owner, " ", base::bytes_text(size_bytes)));
  }
  return base::join(texts, ", ");
}

}  // namespace orrery::worker
