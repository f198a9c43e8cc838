// What is wrong with the options of interface `dpo` together, and with the keys that its train_step
// reads.
#include <algorithm>

#include "orrery/algorithm/dpo.h"
#include "orrery/base/text.h"
#include "orrery/config/experiment.h"  // CallConfig

namespace orrery::algorithm {

namespace {

using Severity = OptionProblem::Severity;

/// Options and inputs of a train_step against its loss.
class Check {
 public:
  Check(const DpoOptions& options, const config::CallConfig& call)
      : options_(options), call_(call) {}

  std::vector<OptionProblem> run() {
    if (options_.is_kto()) {
      check_answers();
    } else {
      check_pairs();
    }
    return std::move(problems_);
  }

 private:
  void add(const char* key, std::string text, Severity severity = Severity::kError) {
    problems_.push_back({key, std::move(text), severity});
  }
  bool reads(const char* key) const { return config::find_binding(call_.inputs, key) != nullptr; }
  void needs(const char* key, const char* from) {
    if (!reads(key)) {
      add("inputs", base::concat("loss = ", options_.loss, " needs the key ", key, " (", from,
                                 "); write it among the inputs"));
    }
  }
  void has_no(const char* option, bool is_set) {
    if (!is_set) return;
    add(option, base::concat("loss = ", options_.loss, " has none; leave it out"));
  }

  void check_answers() {
    needs("desirable", "of a data set of kind labelled; pairs have no labels");
    needs("ref_seqlogp", "what call.ref_inf gives as seqlogp");
    has_no("label_smoothing", options_.label_smoothing != 0);
    has_no("length_normalization", options_.length_normalization == "mean");
    has_no("gamma", options_.gamma != 0);
    has_no("nll_coef", options_.nll_coef != 0);
    has_no("nll_reduction", options_.nll_reduction != DpoOptions().nll_reduction);
    const char* const sample[] = {"kl_input_ids", "kl_prompt_mask", "kl_ref_seqlogp"};
    const auto n_read = std::count_if(std::begin(sample), std::end(sample),
                                      [&](const char* key) { return reads(key); });
    if (n_read == 0) {
      add("inputs",
          "without kl_input_ids, kl_prompt_mask and kl_ref_seqlogp answers are compared with a "
          "divergence of 0 from the reference, not with the policy's own",
          Severity::kWarning);
    } else if (n_read < 3) {
      add("inputs",
          "kl_input_ids, kl_prompt_mask and kl_ref_seqlogp belong together: write all of "
          "them, or none");
    }
    if (options_.desirable_weight == 0 && options_.undesirable_weight == 0) {
      add("desirable_weight", "neither good nor bad answers have any weight: nothing is learned");
    }
  }

  void check_pairs() {
    const PairObjective objective = pair_objective_named(options_.loss);
    for (const char* key : {"desirable", "kl_input_ids", "kl_prompt_mask", "kl_ref_seqlogp"}) {
      if (reads(key)) {
        add("inputs",
            base::concat(key, " belongs to single answers with labels, and loss = ", options_.loss,
                         " is of pairs: write loss = kto, or leave it "
                         "out"));
      }
    }
    if (has_reference(objective)) {
      needs("ref_seqlogp", "what call.ref_inf gives as seqlogp");
    } else if (reads("ref_seqlogp")) {
      add("inputs",
          base::concat("loss = ", options_.loss,
                       " has no reference: ref_seqlogp is not read; without it, and with "
                       "call.ref_inf.enabled = false, no reference model is needed"),
          Severity::kWarning);
    }
    if (options_.nll_coef == 0 && options_.nll_reduction != DpoOptions().nll_reduction) {
      add("nll_reduction", "has no effect without nll_coef", Severity::kWarning);
    }
    has_no("desirable_weight", options_.desirable_weight != 1);
    has_no("undesirable_weight", options_.undesirable_weight != 1);
    has_no("label_smoothing", !takes_label_smoothing(objective) && options_.label_smoothing != 0);
    has_no("gamma", objective != PairObjective::kSimpo && options_.gamma != 0);
    if (objective == PairObjective::kRobustDpo && options_.label_smoothing >= 0.5) {
      add("label_smoothing", base::concat(options_.label_smoothing,
                                          " of wrong labels leaves nothing to learn from: "
                                          "robust_dpo needs less than 0.5"));
    } else {
      check_smoothing(objective);
    }
    if (is_per_token(objective) && options_.length_normalization == "none") {
      add("length_normalization", base::concat("loss = ", options_.loss,
                                               " is about a token on average; write mean or auto"));
    }
    if (objective == PairObjective::kOrpo && options_.nll_coef == 0) {
      add("nll_coef",
          "orpo without the likelihood of the better answers only tells two answers apart; as it "
          "was published, nll_coef = 1",
          Severity::kWarning);
    }
  }

  /// At 0.5 a pair and its reverse have the same loss: dpo's is least where the policy is the
  /// reference, which it is to begin with; without gamma and likelihood nothing else is left.
  void check_smoothing(PairObjective objective) {
    if (options_.label_smoothing > 0.5) {
      add("label_smoothing", "above 0.5 most pairs are taken to be the wrong way round",
          Severity::kWarning);
    }
    if (!takes_label_smoothing(objective) || options_.label_smoothing != 0.5) return;
    const std::string what = base::concat(
        "0.5 takes each pair to be as likely wrong as right, so that loss = ", options_.loss);
    if (options_.nll_coef > 0 || options_.gamma > 0) {
      add("label_smoothing",
          base::concat(what, " learns from ", options_.nll_coef > 0 ? "nll_coef" : "gamma",
                       " alone which answer is the better one"),
          Severity::kWarning);
    } else {
      add("label_smoothing", base::concat(what, " learns nothing of which answer is the better one",
                                          has_reference(objective) ? ": its gradient is 0" : "",
                                          "; write less than 0.5"));
    }
  }

  const DpoOptions& options_;
  const config::CallConfig& call_;
  std::vector<OptionProblem> problems_;
};

}  // namespace

PairLossOptions DpoOptions::pair_options() const {
  PairLossOptions pairs{.objective = pair_objective_named(loss),
                        .beta = beta,
                        .label_smoothing = label_smoothing,
                        .gamma = gamma,
                        .nll_coef = nll_coef,
                        .nll_reduction = nll_reduction_named(nll_reduction),
                        .nonfinite = NonfiniteInput::kPassOn};
  if (length_normalization != "auto") {
    pairs.length_normalization = length_normalization_named(length_normalization);
  } else if (is_per_token(pairs.objective)) {
    pairs.length_normalization = LengthNormalization::kMean;
  }
  check_options(pairs);
  return pairs;
}

std::vector<OptionProblem> DpoOptions::problems(const config::CallConfig& call) const {
  if (call.kind != "train_step") return {};
  return Check(*this, call).run();
}

}  // namespace orrery::algorithm
