#include "gpu_choices.h"

#include "offload_choice.h"
#include "page_choice.h"
#include "recompute_choice.h"

namespace orrery::cli {

std::vector<std::string> choose_for_gpus(Job& job, const GpuMemory& gpu) {
  std::vector<std::string> texts;
  for (const OffloadChoice& choice : choose_offload(job, gpu)) texts.push_back(choice.text());
  for (const RecomputeChoice& choice : choose_recompute_layers(job, gpu)) {
    texts.push_back(choice.text());
  }
  for (const PageChoice& choice : choose_pages(job, gpu)) texts.push_back(choice.text());
  return texts;
}

}  // namespace orrery::cli
