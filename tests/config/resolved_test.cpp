// The resolved configuration: complete, and read back as the same experiment.
#include <gtest/gtest.h>

#include "config_folder.h"

namespace orrery::config {
namespace {

TEST(Resolved, ReadsBackAsTheSameExperiment) {
  ConfigFolder folder;
  folder.write("data #1/rows;x.jsonl", "{}\n");
  Parts parts;
  parts.dataset = "[dataset.train]\npath = \"data #1/rows;x.jsonl\"\nweight = 0.1\n";
  parts.model = "[model.actor]\nlr = 3.3e-4\nrope_theta = 1e6\ntie_embeddings = true\n";
  parts.call += "group_size = 4\nlayout = d2@0-1\n";
  parts.rest =
      "[evaluate]\ndataset = train\nevery_seconds = 0.25\n"
      "[call.ref_inf]\nenabled = false\nmodel = actor\ninterface = gen\nmatch = numeric\n";
  const LoadResult first = folder.load(parts.text(), {"experiment.name=a # \"b\""});
  ASSERT_EQ(folder.messages(first.problems), Texts());
  const std::string text = resolved_config(first.experiment, some_interfaces());

  const LoadResult again = load_experiment_text(text, "config.cfg", some_interfaces());

  EXPECT_EQ(folder.messages(again.problems), Texts());
  EXPECT_EQ(resolved_config(again.experiment, some_interfaces()), text);
  EXPECT_EQ(again.experiment.experiment.name, "a # \"b\"");
  EXPECT_EQ(again.experiment.find_dataset("train")->path, folder.path("data #1/rows;x.jsonl"));
  EXPECT_EQ(again.experiment.find_dataset("train")->weight, 0.1);
  EXPECT_EQ(again.experiment.find_model("actor")->lr, 3.3e-4);
  EXPECT_EQ(again.experiment.find_model("actor")->rope_theta, 1e6);
  EXPECT_TRUE(again.experiment.find_model("actor")->tie_embeddings);
  EXPECT_EQ(again.experiment.evaluate.every_seconds, 0.25);
  const CallConfig& call = *again.experiment.find_call("actor_gen");
  EXPECT_EQ(call.inputs, first.experiment.find_call("actor_gen")->inputs);
  EXPECT_EQ(call.layout, "d2@0-1");
  EXPECT_EQ(parse_options<GenOptions>(call.options).group_size, 4);
  EXPECT_EQ(parse_options<GenOptions>(call.options).temperature, 1);
  const CallConfig& off = *again.experiment.find_call("ref_inf");
  EXPECT_FALSE(off.enabled);
  EXPECT_EQ(parse_options<GenOptions>(off.options).match, "numeric");
}

/// Every member of a section once, as `section.key`.
template <class T>
void append_keys(const std::string& section, Texts& keys) {
  for (const FieldInfo& field : schema_of<T>()) keys.push_back(section + "." + field.name);
}

TEST(Resolved, HasEveryKeyOfEverySection) {
  ConfigFolder folder;
  const LoadResult loaded = folder.load(Parts().text());
  std::vector<Problem> problems;
  Texts keys;
  append_keys<ExperimentSection>("experiment", keys);
  append_keys<LayoutSection>("layout", keys);
  append_keys<CheckpointConfig>("checkpoint", keys);
  append_keys<EvaluateConfig>("evaluate", keys);
  append_keys<ExportConfig>("export", keys);
  append_keys<DatasetConfig>("dataset.train", keys);
  append_keys<ModelConfig>("model.actor", keys);
  append_keys<CallConfig>("call.actor_gen", keys);
  append_keys<GenOptions>("call.actor_gen", keys);

  const Document document =
      parse_document(resolved_config(loaded.experiment, some_interfaces()), "config.cfg", problems);

  EXPECT_TRUE(problems.empty());
  Texts written;
  for (const Entry& entry : document.entries) written.push_back(entry.section + "." + entry.key);
  EXPECT_EQ(written, keys);
}

TEST(Resolved, HasDynamicSamplingWhereItIsOn) {
  ConfigFolder folder;
  const auto text_of = [&](const std::string& enabled) {
    const LoadResult loaded = folder.load(
        Parts().text(), {"dynamic_sampling.enabled=" + enabled, "dynamic_sampling.low=0.25"});
    return resolved_config(loaded.experiment, some_interfaces());
  };

  EXPECT_NE(text_of("true").find("low = 0.25"), std::string::npos);
  EXPECT_EQ(text_of("false").find("[dynamic_sampling]"), std::string::npos);
  const LoadResult again = load_experiment_text(text_of("true"), "config.cfg", some_interfaces());
  EXPECT_TRUE(again.problems.empty());
  EXPECT_EQ(again.experiment.dynamic_sampling.low, 0.25);
}

TEST(Resolved, PathsAreAbsolute) {
  ConfigFolder folder;
  const std::string text =
      resolved_config(folder.load(Parts().text()).experiment, some_interfaces());

  EXPECT_NE(text.find("path = " + folder.path("train.jsonl") + "\n"), std::string::npos) << text;
  EXPECT_NE(text.find("output_dir = " + (std::filesystem::current_path() / "runs").string()),
            std::string::npos);
}

TEST(Resolved, AProblemIsReportedWithItsLine) {
  const LoadResult result = load_experiment_text("[layout]\nx = 1\n", "config.cfg", {});

  ASSERT_FALSE(result.problems.empty());
  EXPECT_EQ(result.problems[0].message(), "config.cfg:2: unknown key layout.x");
}

}  // namespace
}  // namespace orrery::config
