// Which tokenizer each role has where the configuration says auto. Local.
#pragma once

#include <string>

#include "orrery/config/experiment.h"

namespace orrery::cli {

/// Equal files are one tokenizer, wherever they are: a run's roles often begin as copies.
bool have_equal_tokenizers(const std::string& a, const std::string& b);

/// Says for each role which tokenizer it has: a path or `byte`, no longer auto.
void resolve_tokenizers(config::Experiment& experiment);

}  // namespace orrery::cli
