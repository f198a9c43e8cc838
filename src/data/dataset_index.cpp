#include "orrery/data/dataset_index.h"

namespace orrery::data {

DatasetIndex DatasetIndex::build(const config::DatasetConfig& dataset, const Tokenizer& tokenizer) {
  if (is_token_file(dataset.path)) return TokenIndex::build(dataset, tokenizer);
  return JsonlIndex::build(dataset, tokenizer);
}

}  // namespace orrery::data
