#include "orrery/data/dataset_index.h"

#include "foreign_format.h"

namespace orrery::data {

DatasetIndex DatasetIndex::build(const config::DatasetConfig& dataset, const Tokenizer& tokenizer) {
  if (is_token_file(dataset.path)) return TokenIndex::build(dataset, tokenizer);
  refuse_foreign_format(dataset.path);
  return JsonlIndex::build(dataset, tokenizer);
}

}  // namespace orrery::data
