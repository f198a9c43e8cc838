#include "model_exports.h"

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "orrery/base/file.h"
#include "orrery/base/log.h"
#include "orrery/base/pointer.h"
#include "orrery/base/text.h"
#include "orrery/checkpoint/directory.h"  // step_folders

namespace orrery::cli {

namespace fs = std::filesystem;

ModelExports::ModelExports(fs::path folder, int keep, int n_checkpoints,
                           const master::BestModel::State& best)
    : folder_(std::move(folder)),
      keep_(static_cast<size_t>(keep)),
      n_checkpoints_(static_cast<size_t>(n_checkpoints)),
      best_step_(best.step) {
  note_checkpoint(best);
}

void ModelExports::note_checkpoint(const master::BestModel::State& best) {
  best_of_checkpoints_.push_back(best.step);
  while (best_of_checkpoints_.size() > n_checkpoints_) best_of_checkpoints_.pop_front();
}

bool ModelExports::is_best(const fs::path& exported) const {
  const auto is_of = [&](int64_t step) {
    return step >= 0 && exported.filename() == base::step_name(step);
  };
  return is_of(best_step_) ||
         std::any_of(best_of_checkpoints_.begin(), best_of_checkpoints_.end(), is_of);
}

void ModelExports::publish(const fs::path& exported) {
  base::point(folder_ / "latest", exported);
  // Newer ones are of an attempt before: each is replaced when its step is done again.
  const int64_t step = checkpoint::step_of(exported).value();
  std::vector<fs::path> all = checkpoint::step_folders(folder_);
  std::erase_if(all, [&](const fs::path& one) { return *checkpoint::step_of(one) > step; });
  std::error_code ignored;
  for (size_t i = 0; i + keep_ < all.size(); ++i) {
    if (is_best(all[i])) continue;
    checkpoint::warn_of_old_link(all[i]);
    fs::remove_all(all[i], ignored);
  }
}

void ModelExports::publish_best(const fs::path& exported, int64_t step) {
  best_step_ = step;
  base::point(folder_ / "best", exported);
}

master::BestModel::State restore_best(const fs::path& models,
                                      const master::BestModel::State& best) {
  if (best.step >= 0 && base::exists(models / base::step_name(best.step))) {
    base::point(models / "best", base::step_name(best.step));
    return best;
  }
  base::remove_pointer(models / "best");
  if (best.step < 0) return best;
  base::log_warning(base::concat("the best model so far, of step ", best.step, ", is no longer in ",
                                 models.string(), ": which one is best is found out anew"));
  return {};
}

}  // namespace orrery::cli
