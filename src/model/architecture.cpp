#include "orrery/model/architecture.h"

#include <algorithm>  // clamp, find
#include <cmath>      // isfinite, sqrt

#include "families/family.h"
#include "orrery/base/counted.h"
#include "orrery/base/error.h"
#include "orrery/base/index.h"
#include "orrery/base/text.h"
#include "orrery/config/experiment.h"  // ModelConfig
#include "orrery/graph/layout.h"
#include "orrery/metrics/flops.h"
#include "orrery/model/foreign_model.h"

namespace orrery::model {
namespace {

/// Beyond it a number in a file is damage; one multiplied by another still fits.
constexpr int64_t kLargestSize = 1'000'000'000;
constexpr int64_t kMostLayers = 10'000;
constexpr int64_t kMostExperts = 1'000'000;  // of all layers together: each has its parameters
constexpr double kMostParameters = 1e14;

/// In floating point: of sizes that are damage the number does not fit.
double parameters_about(const Architecture& a) {
  const auto real = [](int64_t n) { return static_cast<double>(n); };
  const double hidden = real(a.hidden_size);
  const double mlp = a.experts.count > 0
                         ? real(a.experts.count) * 3 * real(a.experts.intermediate_size)
                         : real(a.up_size() + a.intermediate_size);
  const double layer = hidden * (real(a.qkv_size()) + real(a.query_size()) + mlp);
  const double positions = a.learned_positions ? real(a.max_positions) : 0;
  return real(a.n_layers) * layer + hidden * (2 * real(a.vocab_size) + positions);
}

void throw_if_any(const std::vector<std::string>& problems, const std::string& what) {
  if (problems.empty()) return;
  std::string text;
  for (const std::string& problem : problems) text += (text.empty() ? "" : "; ") + problem;
  throw ConfigError(what, {.expected = "sizes that fit together",
                           .got = text,
                           .advice = "correct the sizes of the model"});
}

}  // namespace

int64_t Architecture::window_of(int64_t layer) const {
  return sliding_layers.empty() || sliding_layers.at(base::index(layer)) ? sliding_window : 0;
}

Rotary Architecture::rotary_of(int64_t layer) const {
  if (learned_positions) return Rotary::kNone;
  if (!unrotated_layers.empty() && unrotated_layers.at(base::index(layer))) {
    return Rotary::kNone;
  }
  return local_rope_theta > 0 && window_of(layer) > 0 ? Rotary::kLocal : Rotary::kGlobal;
}

double Architecture::score_scale() const {
  return 1.0 / std::sqrt(query_scale > 0 ? query_scale : static_cast<double>(head_dim));
}

bool Architecture::has_experts(int64_t layer) const {
  return experts.count > 0 && (experts.layers.empty() || experts.layers.at(base::index(layer)));
}

bool Architecture::has_dense_layers() const {
  if (experts.count == 0) return true;
  return std::find(experts.layers.begin(), experts.layers.end(), false) != experts.layers.end();
}

std::vector<std::string> Architecture::problems() const {
  std::vector<std::string> found;
  const auto positive = [&](const char* field, int64_t value) {
    if (value < 1) found.push_back(base::concat(field, " is ", value, ", expected at least 1"));
    if (value > kLargestSize) {
      found.push_back(base::concat(field, " is ", value, ", more than any model has"));
    }
  };
  positive("vocab_size", vocab_size);
  positive("hidden_size", hidden_size);
  positive("intermediate_size", intermediate_size);
  positive("n_layers", n_layers);
  if (n_layers > kMostLayers && n_layers <= kLargestSize) {
    found.push_back(base::concat("n_layers is ", n_layers, ", expected at most ", kMostLayers));
  }
  positive("n_heads", n_heads);
  positive("n_kv_heads", n_kv_heads);
  positive("head_dim", head_dim);
  positive("max_positions", max_positions);
  if (n_heads > 0 && n_kv_heads > 0 && n_heads % n_kv_heads != 0) {
    found.push_back(
        base::concat("n_heads (", n_heads, ") is no multiple of n_kv_heads (", n_kv_heads, ")"));
  }
  if (head_dim > 0 && head_dim % 2 != 0 && !learned_positions) {
    found.push_back(base::concat("head_dim (", head_dim, ") is odd: rotary positions turn pairs"));
  }
  if (sliding_window < 0) {
    found.push_back(
        base::concat("sliding_window is ", sliding_window, ", expected 0 (off) or more"));
  }
  if (!(norm_eps >= 0) || !std::isfinite(norm_eps)) {
    found.push_back(base::concat("norm_eps is ", norm_eps, ", expected 0 or more"));
  }
  if (!(rope_theta > 0) || !std::isfinite(rope_theta)) {
    found.push_back(base::concat("rope_theta is ", rope_theta, ", expected more than 0"));
  }
  if (!(rope.factor > 0) || !std::isfinite(rope.factor)) {
    found.push_back(base::concat("the rope factor is ", rope.factor, ", expected more than 0"));
  }
  const auto one_a_layer = [&](const char* field, const std::vector<bool>& values) {
    if (values.empty() || static_cast<int64_t>(values.size()) == n_layers) return;
    found.push_back(base::concat(field, " has ", values.size(), " entries for ", n_layers,
                                 n_layers == 1 ? " layer" : " layers"));
  };
  one_a_layer("layer_types", sliding_layers);
  one_a_layer("no_rope_layers", unrotated_layers);
  if (!(local_rope_theta >= 0) || !std::isfinite(local_rope_theta)) {
    found.push_back(
        base::concat("the local rope_theta is ", local_rope_theta, ", expected more than 0"));
  }
  if (!(query_scale >= 0) || !std::isfinite(query_scale)) {
    found.push_back(base::concat("query_scale is ", query_scale, ", expected more than 0"));
  }
  if (has_norms_after() && (experts.count > 0 || norm == NormKind::kLayer)) {
    found.push_back("norms after the branches are there for dense layers with rms norms only");
  }
  one_a_layer("the list of layers with experts", experts.layers);
  if (experts.count < 0) found.push_back(base::concat("the number of experts is ", experts.count));
  if (experts.count > 0) {
    positive("the intermediate size of an expert", experts.intermediate_size);
    if (experts.per_token < 1 || experts.per_token > experts.count) {
      found.push_back(base::concat("a token takes ", base::counted(experts.per_token, "expert"),
                                   " of ", experts.count));
    }
    if (experts.count > kMostExperts / std::clamp<int64_t>(n_layers, 1, kMostExperts)) {
      found.push_back(base::concat(experts.count, " experts in each of ", n_layers,
                                   " layers, expected at most ", kMostExperts, " in all"));
    }
  }
  if (found.empty() && parameters_about(*this) > kMostParameters) {
    found.push_back(base::concat("these sizes make ", parameters_about(*this),
                                 " parameters, more than any model has"));
  }
  return found;
}

Architecture Architecture::from_config(const config::ModelConfig& config) {
  if (!config.path.empty()) {
    refuse_foreign_model(config.path);
    Architecture a = from_hf_config(std::filesystem::path(config.path) / "config.json");
    if (config.head == "value") a.value_head = true;  // a critic may begin as a language model
    return a;
  }
  const FamilyTraits* family = find_family(config.architecture);
  if (family == nullptr || family->complete == nullptr) {
    throw ConfigError(base::concat("architecture ", config.architecture, " has no decoder"),
                      {.expected = family_list(true),
                       .got = config.architecture,
                       .advice = "choose one of these, or `none` for a role without parameters"});
  }
  Architecture a;
  a.family = family->family;
  a.vocab_size = config.vocab_size;
  a.hidden_size = config.hidden_size;
  a.intermediate_size = config.intermediate_size;
  a.n_layers = config.n_layers;
  a.n_heads = config.n_heads;
  a.n_kv_heads = config.n_kv_heads;
  std::vector<std::string> found;
  a.head_dim = config.head_dim;
  if (config.head_dim == 0 && config.n_heads > 0) {
    a.head_dim = config.hidden_size / config.n_heads;
    if (config.hidden_size % config.n_heads != 0) {
      found.push_back(base::concat("hidden_size (", config.hidden_size,
                                   ") is no multiple of n_heads (", config.n_heads,
                                   ") and head_dim is not set"));
    }
  }
  a.max_positions = config.max_positions;
  a.rope_theta = config.rope_theta;
  a.norm_eps = config.norm_eps;
  a.tie_embeddings = config.tie_embeddings;
  family->complete(a);
  a.value_head = config.head == "value";
  for (std::string& problem : a.problems()) found.push_back(std::move(problem));
  throw_if_any(found, "impossible model");
  return a;
}

metrics::FlopsShape Architecture::flops_shape() const {
  // The formulas count three products of an MLP and no router: sizes that give the same number of
  // multiplications, averaged over the layers.
  int64_t wide = 0;
  for (int64_t layer = 0; layer < n_layers; ++layer) {
    if (!has_experts(layer)) {
      wide += gated_mlp ? 3 * intermediate_size : 2 * intermediate_size;
      continue;
    }
    wide += 3 * experts.per_token * experts.intermediate_size + experts.count +
            3 * experts.shared_intermediate_size;
  }
  return {.n_layers = n_layers,
          .hidden_size = hidden_size,
          .intermediate_size = n_layers > 0 ? wide / (3 * n_layers) : 0,
          .vocab_size = vocab_size};
}

std::vector<std::string> check_layout(const Architecture& architecture,
                                      const graph::Layout& layout) {
  std::vector<std::string> found;
  const int64_t tensor = layout.tensor, pipe = layout.pipe;
  const auto must_divide = [&](const char* field, int64_t value) {
    if (value % tensor == 0) return;
    found.push_back(
        base::concat(field, " (", value, ") is no multiple of the tensor degree ", tensor));
  };
  must_divide("n_heads", architecture.n_heads);
  if (architecture.has_dense_layers()) {
    must_divide("intermediate_size", architecture.intermediate_size);
  }
  if (architecture.experts.count > 0) {
    must_divide("shared_expert_intermediate_size", architecture.experts.shared_intermediate_size);
    if (architecture.experts.count < tensor) {
      found.push_back(base::concat(architecture.experts.count,
                                   " experts are less than the tensor degree ", tensor));
    }
  }
  const int64_t kv = architecture.n_kv_heads;
  if (kv % tensor != 0 && tensor % kv != 0) {
    found.push_back(base::concat("n_kv_heads (", kv, ") and the tensor degree ", tensor,
                                 ": one must be a multiple of the other"));
  }
  if (architecture.vocab_size < tensor) {
    found.push_back(base::concat("a vocabulary of ", architecture.vocab_size,
                                 " is less than the tensor degree ", tensor));
  }
  if (pipe > architecture.n_layers) {
    found.push_back(base::concat("pipeline degree ", pipe, " is more than the ",
                                 base::counted(architecture.n_layers, "layer")));
  }
  return found;
}

}  // namespace orrery::model
