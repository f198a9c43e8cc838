// Models of the sizes that people train, with random weights, on the first GPU: what decoding and
// training are measured with. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "check.h"
#include "orrery/model/decoder.h"
#include "orrery/model/packed_tokens.h"

namespace orrery::gpu_check {

struct SizedModel {
  std::string name;
  model::Architecture architecture;
};
/// Of `fixtures`, the smallest first; one in miniature in a small check. Throws ConfigError.
std::vector<SizedModel> models_of(const Check& check);

/// Parameters of bf16, drawn by their rules from numbers that repeat: quicker than
/// FlatParameters::initialise and as good for measurements.
model::Decoder random_decoder(const model::Architecture& architecture);

/// What its matmuls compute with.
at::ScalarType computed_type(const model::Decoder& decoder);
int64_t bytes_a_number(const model::Decoder& decoder);

/// As shapes of figures name it: bf16, fp32.
std::string type_text(at::ScalarType type);

/// Sequences of `length` tokens that differ.
model::PackedTokens some_sequences(int64_t n, int64_t length, int64_t vocab_size);

/// Operations of the matmuls and of attention, each pair of tokens once, that the whole forward
/// pass over a sequence of `length` needs for a token; a multiply and an add are two.
double forward_operations(const model::Architecture& architecture, int64_t length);

/// As Figures::measure, with the peak of the GPU's memory; what it has no room for is left out.
void measure_model(Check& check, Figure figure, const std::function<void(Figure&)>& work);

/// Operations a second of a large matmul, a figure of its own for each type. None: not measured.
class MatmulRates {
 public:
  explicit MatmulRates(Check& check);
  /// Tokens a second at that rate. None: as said, or `operations` are none.
  std::optional<double> tokens_per_second(at::ScalarType type, double operations) const;

 private:
  void measure(Check& check, at::ScalarType type, std::optional<double>& rate);
  std::optional<double> bf16_, fp32_;
};

void check_decoding(Check& check);
void check_training(Check& check);

}  // namespace orrery::gpu_check
