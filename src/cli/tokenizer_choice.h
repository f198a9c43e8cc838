// Which tokenizer each role has where the configuration says auto. Local.
#pragma once

#include <string>
#include <vector>

#include "orrery/config/document.h"  // Problem
#include "orrery/config/experiment.h"

namespace orrery::cli {

/// Equal files are one tokenizer, wherever they are: a run's roles often begin as copies.
bool have_equal_tokenizers(const std::string& a, const std::string& b);

/// Says for each role which tokenizer it has: a path or `byte`, no longer auto. Appends to
/// `warnings` each model whose files have none and that gets another role's.
void resolve_tokenizers(config::Experiment& experiment, std::vector<config::Problem>& warnings);

}  // namespace orrery::cli
