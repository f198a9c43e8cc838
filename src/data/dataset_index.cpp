#include "orrery/data/dataset_index.h"

#include "foreign_format.h"

namespace orrery::data {

DatasetIndex DatasetIndex::build(const config::DatasetConfig& dataset, const Tokenizer& tokenizer,
                                 const RecordNeeds& needs) {
  if (is_token_file(dataset.path)) return TokenIndex::build(dataset, tokenizer, needs);
  refuse_foreign_format(dataset.path);
  return JsonlIndex::build(dataset, tokenizer, needs);
}

}  // namespace orrery::data
