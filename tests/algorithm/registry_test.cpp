#include "orrery/algorithm/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "orrery/base/error.h"
#include "orrery/config/load.h"

namespace orrery::algorithm {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

/// What check_calls says of `text`, one line a problem.
std::vector<std::string> problems_of(const std::string& text) {
  const config::LoadResult loaded =
      config::load_experiment_text(text, "here.cfg", interface_schemas());
  std::vector<config::Problem> problems, warnings;  // not the reader's: it is a fragment
  check_calls(loaded.experiment, problems, warnings);
  std::vector<std::string> messages;
  for (const config::Problem& problem : problems) messages.push_back(problem.message());
  return messages;
}

constexpr const char* kRoles = R"(
[experiment]
name = x
[dataset.train]
path = x.jsonl
kind = prompts
[model.actor]
hidden_size = 32
[model.rule]
architecture = none
)";

/// A call named `c` of these lines.
std::string call(const std::string& lines) { return std::string(kRoles) + "[call.c]\n" + lines; }

constexpr const char* kGoodGrpo = R"(model = actor
kind = train_step
interface = grpo
inputs = packed_input_ids, prompt_mask, packed_logprobs, rewards, seq_no_eos_mask
n_seqs = 4
)";

TEST(CheckCalls, AcceptsWhatAnInterfaceCanServe) {
  EXPECT_THAT(problems_of(call(kGoodGrpo)), IsEmpty());
  EXPECT_THAT(problems_of(call(R"(model = rule
kind = inference
interface = rule_reward
inputs = packed_input_ids, prompt_mask, answers
outputs = rewards
n_seqs = 4
)")),
              IsEmpty());
}

TEST(CheckCalls, NamesAKindThatTheInterfaceHasNot) {
  EXPECT_THAT(problems_of(call("model = actor\nkind = generate\ninterface = sft\nn_seqs = 4\n")),
              Contains(AllOf(HasSubstr("here.cfg"), HasSubstr("call.c.kind"),
                             HasSubstr("sft has no generate; it has train_step"))));
}

TEST(CheckCalls, NamesAKeyThatIsNotBound) {
  EXPECT_THAT(problems_of(call("model = actor\nkind = train_step\ninterface = sft\n"
                               "inputs = packed_input_ids\nn_seqs = 4\n")),
              Contains(AllOf(HasSubstr("call.c.inputs"), HasSubstr("needs the key prompt_mask"))));
}

TEST(CheckCalls, NamesKeysThatTheInterfaceDoesNotKnow) {
  const std::vector<std::string> got = problems_of(
      call("model = actor\nkind = train_step\ninterface = sft\n"
           "inputs = packed_input_ids, prompt_mask, rewards\noutputs = values\nn_seqs = 4\n"));
  EXPECT_THAT(got, Contains(HasSubstr("does not read the key rewards")));
  EXPECT_THAT(got, Contains(HasSubstr("does not write the key values")));
}

TEST(CheckCalls, NamesARoleWithoutParameters) {
  EXPECT_THAT(
      problems_of(call("model = rule\nkind = generate\ninterface = generate\n"
                       "inputs = packed_prompts\noutputs = packed_input_ids\nn_seqs = 4\n")),
      Contains(AllOf(HasSubstr("call.c.model"), HasSubstr("generate needs a model"))));
}

TEST(CheckCalls, NamesAnInputThatAnOptionWants) {
  EXPECT_THAT(problems_of(call(std::string(kGoodGrpo) + "kl_coef = 0.1\n")),
              Contains(AllOf(HasSubstr("call.c.kl_coef"), HasSubstr("packed_ref_logprobs"))));
  EXPECT_THAT(problems_of(call(std::string(kGoodGrpo) + "c_clip = 0.5\n")),
              Contains(AllOf(HasSubstr("call.c.c_clip"), HasSubstr("above 1"))));
}

TEST(CheckCalls, BindsTheDistributionDrawnFromForWhoeverWantsIt) {
  const std::string correction = std::string(kGoodGrpo) + "sampling_weight_cap = 2\n";
  EXPECT_THAT(problems_of(call(correction)),
              Contains(AllOf(HasSubstr("call.c.sampling_weight_cap"),
                             HasSubstr("needs the input sampling_logprobs"))));
  std::string bound = correction;
  bound.insert(bound.find("rewards"), "sampling_logprobs, ");
  EXPECT_THAT(problems_of(call(bound)), IsEmpty());
  EXPECT_THAT(problems_of(call("model = actor\nkind = generate\ninterface = generate\n"
                               "inputs = packed_prompts\nn_seqs = 4\n"
                               "outputs = packed_input_ids, sampling_logprobs\n")),
              IsEmpty());
}

TEST(CheckCalls, LooksAtNoCallThatIsSwitchedOff) {
  EXPECT_THAT(problems_of(call("model = actor\nkind = generate\ninterface = sft\nn_seqs = 4\n"
                               "enabled = false\n")),
              IsEmpty());
}

TEST(Registry, HasNoInterfaceOfAnUnknownName) {
  EXPECT_TRUE(signatures_of("no_such").empty());
  EXPECT_THROW(make_interface("no_such", {}), ConfigError);
}

TEST(Registry, MakesEveryInterfaceFromItsDefaults) {
  for (const auto& [name, schema] : interface_schemas()) {
    SCOPED_TRACE(name);
    EXPECT_FALSE(signatures_of(name).empty());
    EXPECT_NE(make_interface(name, {}), nullptr);
  }
}

struct EchoOptions {
  int64_t loudness = 1;

  template <class Visitor>
  static void visit_fields(Visitor& field) {
    field(&EchoOptions::loudness, "loudness", "of the echo", config::at_least(1));
  }
};

class Echo final : public Interface {
 public:
  explicit Echo(EchoOptions options) : options_(options) {}
  data::SequenceBatch inference(ModelContext&, const data::SequenceBatch& input,
                                const CallContext&) override {
    statistics_.sum("loudness", static_cast<double>(options_.loudness));
    return input;
  }

 private:
  EchoOptions options_;
};

TEST(Registry, TakesAnInterfaceOfTheUsersOnce) {
  const auto echo = [] {
    return registration_of<Echo, EchoOptions>({{.kind = graph::CallKind::kInference,
                                                .required_inputs = {"packed_input_ids"},
                                                .optional_inputs = {},
                                                .outputs = {},
                                                .model = ModelNeed::kNone}});
  };
  register_interface("test_echo", echo());
  const std::unique_ptr<Interface> made =
      make_interface("test_echo", {{.name = "loudness", .value = "3", .where = {}}});
  ModelContext model;

  made->inference(model, {}, {});

  EXPECT_EQ(made->take_statistics().value("loudness"), 3.0);
  EXPECT_THROW(register_interface("test_echo", echo()), ConfigError);
  EXPECT_THROW(made->train_step(model, {}, {}), CallError) << "it has no such method";
}

}  // namespace
}  // namespace orrery::algorithm
