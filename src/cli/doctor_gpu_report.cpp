#include "doctor_gpu_report.h"

#include <algorithm>

#include "orrery/base/counted.h"
#include "orrery/base/text.h"

namespace orrery::cli {

namespace {

template <size_t n>
std::string text_of(const std::array<char, n>& chars) {
  return {chars.data(), std::find(chars.begin(), chars.end(), '\0')};
}

std::string cuda_text(int64_t version) {
  return base::concat(version / 1000, ".", version % 1000 / 10);
}

std::string nccl_text(int64_t version) {
  return base::concat(version / 10000, ".", version / 100 % 100, ".", version % 100);
}

/// The driver that a CUDA release needs at least, by NVIDIA's table of minor version compatibility.
std::string needed_driver(int64_t cuda) {
  return cuda >= 13000 ? "CUDA 13 needs an NVIDIA driver of 580 or newer"
                       : "CUDA 12 needs an NVIDIA driver of 525 or newer";
}

int64_t n_of_node(const GpuFacts& gpus) { return std::max(gpus.n_of_driver, gpus.n_on_bus); }

bool is_driver_too_old(const GpuFacts& gpus) {
  return gpus.driver_cuda > 0 && gpus.driver_cuda / 1000 < gpus.runtime_cuda / 1000;
}

/// What to do about GPUs of the node that CUDA does not show.
std::string about_hidden(const GpuFacts& gpus) {
  if (gpus.n_mig_instances > 0) {
    return base::concat("MIG cuts the GPUs into ", base::counted(gpus.n_mig_instances, "instance"),
                        ", and CUDA shows a process one of them: have MIG switched off "
                        "(nvidia-smi -mig 0), or start one worker a node");
  }
  const std::string visible = text_of(gpus.visible_devices);
  if (!visible.empty()) {
    return base::concat("CUDA_VISIBLE_DEVICES=", visible,
                        " hides the others: unset it where you set it, or ask the batch system for "
                        "more (--gres=gpu:N for the node, never --gpus-per-task)");
  }
  return "the batch system or container gives this job no more: ask for them (--gres=gpu:N for the "
         "node, never --gpus-per-task; apptainer exec --nv; docker run --gpus all)";
}

Finding judge_count(const GpuNode& node) {
  const GpuFacts& gpus = *node.workers.front();
  const auto n_workers = static_cast<int64_t>(node.workers.size());
  const int64_t n = std::max(n_of_node(gpus), gpus.n_visible);
  Finding finding{
      .health = Health::kFine,
      .what = base::concat("GPUs of ", node.host),
      .value = base::concat(gpus.n_visible, gpus.n_visible < n ? base::concat(" of ", n) : "",
                            " for ", base::counted(n_workers, "worker")),
      .advice = ""};
  if (gpus.n_visible == 0) {
    finding.health = Health::kWarning;
    finding.value = base::concat("none of ", n, ": ranks compute on CPUs");
    const std::string why = text_of(gpus.why_none);
    if (text_of(gpus.driver).empty()) {
      finding.advice =
          base::concat("there is no NVIDIA driver. ", needed_driver(gpus.runtime_cuda));
    } else if (!is_driver_too_old(gpus)) {  // its own line says so
      finding.advice = base::concat(why, why.empty() ? "" : "; ", about_hidden(gpus));
    }
  } else if (n_workers > gpus.n_visible) {
    finding.health = Health::kFailure;
    finding.advice = "a GPU serves one worker: start a worker for each GPU, and the master";
    if (n >= n_workers) finding.advice = about_hidden(gpus);
  }
  return finding;
}

Finding judge_cuda(const GpuNode& node) {
  const GpuFacts& gpus = *node.workers.front();
  const std::string driver = text_of(gpus.driver);
  Finding finding{.health = Health::kFine,
                  .what = base::concat("CUDA of ", node.host),
                  .value = base::concat("driver ", driver.empty() ? "unknown" : driver,
                                        " up to CUDA ", cuda_text(gpus.driver_cuda), ", runtime ",
                                        cuda_text(gpus.runtime_cuda)),
                  .advice = ""};
  if (is_driver_too_old(gpus)) {
    finding.health = Health::kWarning;
    finding.advice = base::concat(
        "no GPU will be used: ", needed_driver(gpus.runtime_cuda), ". Install one",
        gpus.runtime_cuda >= 13000 ? ", or build with tools/setup.sh --cuda=12 (525 or newer)"
                                   : "");
  }
  return finding;
}

Finding judge_nccl(const GpuNode& node) {
  const GpuFacts& gpus = *node.workers.front();
  Finding finding{.health = Health::kFine,
                  .what = base::concat("NCCL of ", node.host),
                  .value = nccl_text(gpus.nccl),
                  .advice = ""};
  if (gpus.nccl < gpus.nccl_of_build) {
    finding.health = Health::kWarning;
    finding.advice = base::concat(
        "the program was compiled with ", nccl_text(gpus.nccl_of_build),
        ": an older one is found first. Take its folder out of LD_LIBRARY_PATH, or install "
        "nvidia-nccl-cu",
        gpus.runtime_cuda / 1000, " of PyPI there");
  }
  return finding;
}

/// The slowest of a node's GPUs, which all others wait for.
void append_copies(const GpuNode& node, std::vector<Finding>& findings) {
  const auto slower = [](const GpuFacts& gpus) {
    return std::min(gpus.to_gpu_bytes_per_s, gpus.to_host_bytes_per_s);
  };
  const auto slowest = std::min_element(
      node.workers.begin(), node.workers.end(),
      [&](const GpuFacts* a, const GpuFacts* b) { return slower(*a) < slower(*b); });
  const GpuFacts& gpus = **slowest;
  if (slower(gpus) <= 0) return;
  Finding finding{.health = Health::kFine,
                  .what = base::concat("copies of the slowest GPU of ", node.host),
                  .value = base::concat("to it ", rate_text(gpus.to_gpu_bytes_per_s),
                                        ", to the host ", rate_text(gpus.to_host_bytes_per_s)),
                  .advice = ""};
  if (slower(gpus) < 6e9) {  // 8 lanes of PCIe 3 have 8 GB/s
    finding.health = Health::kWarning;
    finding.advice = base::concat(
        "slower than 8 lanes of PCIe 3: GPU ",
        node.workers.size() > 1 ? base::concat(slowest - node.workers.begin(), " ") : "",
        "may have fewer lanes than it could (nvidia-smi --query-gpu=pcie.link.gen.current,"
        "pcie.link.width.current --format=csv), its worker may run on the other socket (its place "
        "is above), or a virtual machine is between");
  }
  findings.push_back(std::move(finding));
}

}  // namespace

std::vector<Finding> judge_gpus(const GpuNode& node, GpuSupport support) {
  const GpuFacts& gpus = *node.workers.front();
  if (n_of_node(gpus) == 0 && gpus.n_visible == 0) {
    return {{.health = Health::kFine,
             .what = base::concat("GPUs of ", node.host),
             .value = "none: ranks compute on CPUs",
             .advice = ""}};
  }
  if (support == GpuSupport::kLeftOut) {
    return {
        {.health = Health::kWarning,
         .what = base::concat("GPUs of ", node.host),
         .value = base::concat(n_of_node(gpus), " for ",
                               base::counted(static_cast<int64_t>(node.workers.size()), "worker")),
         .advice = "this program was built without CUDA and will not use them: build it with "
                   "tools/setup.sh --cuda=13, or --cuda=12 for a driver older than 580 "
                   "(docs/gpu.md)"}};
  }
  std::vector<Finding> findings = {judge_count(node)};
  if (gpus.driver_cuda > 0) findings.push_back(judge_cuda(node));
  if (gpus.n_visible == 0) return findings;
  findings.push_back(judge_nccl(node));
  if (const std::string problem = text_of(gpus.libtorch_problem); !problem.empty()) {
    findings.push_back(
        {.health = Health::kFailure,
         .what = base::concat("LibTorch's CUDA half on ", node.host),
         .value = problem,
         .advice = "install what it needs (tools/setup.sh --cuda=13 --gpu-libraries), or name "
                   "its folders in LD_LIBRARY_PATH"});
  }
  for (const GpuFacts* worker : node.workers) {
    const std::string place = text_of(worker->place);
    if (place.empty()) continue;
    findings.push_back(
        {.health = worker->may_run_near != 0 ? Health::kFine : Health::kWarning,
         .what = base::concat("a GPU of ", node.host),
         .value = place,
         .advice = worker->may_run_near != 0
                       ? ""
                       : "its worker may run on none of these cores: start ranks without binding "
                         "(srun --cpu-bind=none, mpirun --bind-to none), workers bind themselves"});
  }
  append_copies(node, findings);
  return findings;
}

std::vector<Finding> judge_mixed_nodes(std::span<const GpuNode> nodes, GpuSupport support) {
  std::vector<std::string> without;
  for (const GpuNode& node : nodes) {
    if (node.workers.front()->n_visible == 0) without.push_back(node.host);
  }
  if (support == GpuSupport::kLeftOut || without.empty() || without.size() == nodes.size())
    return {};
  return {{.health = Health::kFailure,
           .what = "GPUs of the job",
           .value = base::concat("none on ", base::join(without, ", ")),
           .advice = "all workers compute on GPUs or all on CPUs: leave these nodes out, or set "
                     "experiment.device = cpu"}};
}

}  // namespace orrery::cli
