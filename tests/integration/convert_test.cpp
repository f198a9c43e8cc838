// `orrery convert`, `inspect` and `verify`: a model is the same in every form, and damage is found.
#include <gtest/gtest.h>

#include <fstream>

#include "base/temporary_folder.h"
#include "integration/command.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kModel = source("tests/fixtures/hf/llama-gqa");

std::string contents(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void expect(int exit_code, const Result& result, const std::string& text) {
  EXPECT_EQ(result.exit_code, exit_code) << result.output;
  EXPECT_NE(result.output.find(text), std::string::npos) << "expected: " << text << "\n"
                                                         << result.output;
}

/// Everything that a model says of a few sequences, to the last digit.
json scores(const TemporaryFolder& folder, const std::string& model, const std::string& more = "") {
  std::ofstream(folder / "in.json") << R"({"sequences": [[1, 2, 3, 4, 5, 100], [7], [9, 8]]})";
  const Result result = orrery_alone("score --logits --dtype fp64 --model " + model + " --tokens " +
                                     (folder / "in.json").string() + " --out " +
                                     (folder / "out.json").string() + " " + more);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  return result.exit_code == 0 ? json::parse(std::ifstream(folder / "out.json")) : json();
}

/// A copy of the fixture with a tokenizer's file beside it.
std::string with_tokenizer(const TemporaryFolder& folder) {
  const fs::path model = folder / "model";
  fs::create_directory(model);
  for (const char* name : {"config.json", "generation_config.json", "model.safetensors"}) {
    fs::copy_file(fs::path(kModel) / name, model / name);
  }
  std::ofstream(model / "tokenizer.json") << "{\"a\": 1}";
  return model.string();
}

TEST(Convert, ThereAndBackIsTheSameModelWhateverTheLayout) {
  const TemporaryFolder folder;
  const std::string model = with_tokenizer(folder);
  const json expected = scores(folder, model);
  for (const char* layout : {"", "--layout t2p2"}) {
    SCOPED_TRACE(layout);
    const std::string checkpoint = (folder / "checkpoint").string();
    const std::string back = (folder / "back").string();

    expect(
        0,
        orrery_alone("convert --overwrite --from " + model + " --to " + checkpoint + " " + layout),
        "written");
    expect(0, orrery_alone("convert --overwrite --from " + checkpoint + " --to " + back),
           "written");

    EXPECT_TRUE(scores(folder, checkpoint) == expected);
    EXPECT_TRUE(scores(folder, back) == expected);
    expect(0, orrery_alone("verify " + checkpoint), "ok");
    expect(0, orrery_alone("verify --check " + back), "ok");
    EXPECT_TRUE(fs::exists(fs::path(checkpoint) / "tokenizer.json"));
    EXPECT_EQ(contents(fs::path(back) / "tokenizer.json"), "{\"a\": 1}");
  }
}

TEST(Convert, LeavesFoldersBesideItsTargetAlone) {
  const TemporaryFolder folder;
  const std::string checkpoint = (folder / "checkpoint").string();
  const std::string to = (folder / "hfo").string();
  expect(0, orrery_alone("convert --from " + kModel + " --to " + checkpoint), "written");
  for (const char* name : {"hfo", "hfo.plain", "hfo.replaced", "hfo.writing"}) {
    fs::create_directory(folder / name);
    std::ofstream(folder / name / "mine") << name;
  }

  expect(2, orrery_alone("convert --overwrite --from " + checkpoint + " --to " + to),
         "hfo.writing");
  EXPECT_EQ(contents(folder / "hfo.writing/mine"), "hfo.writing");
  fs::remove_all(folder / "hfo.writing");
  expect(0, orrery_alone("convert --overwrite --from " + checkpoint + " --to " + to), "written");

  EXPECT_EQ(contents(folder / "hfo.plain/mine"), "hfo.plain");
  EXPECT_EQ(contents(folder / "hfo.replaced/mine"), "hfo.replaced");
  EXPECT_TRUE(fs::exists(folder / "hfo/model.safetensors"));
  EXPECT_FALSE(fs::exists(folder / "hfo/mine"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 4);
}

TEST(Convert, WritesWhatALinkLeadsTo) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "disk/model");
  fs::create_directory_symlink("disk/model", folder / "to");

  expect(0, orrery_alone("convert --as hf --from " + kModel + " --to " + (folder / "to").string()),
         "written");

  EXPECT_TRUE(fs::is_symlink(folder / "to"));
  EXPECT_TRUE(fs::exists(folder / "disk/model/model.safetensors"));
}

TEST(Convert, ScoresACheckpointOnRanksOfAnotherLayout) {
  const TemporaryFolder folder;
  const std::string checkpoint = (folder / "checkpoint").string();
  expect(0, orrery_alone("convert --from " + kModel + " --to " + checkpoint + " --layout p2"), "");
  const json expected = scores(folder, kModel);

  const Result result = orrery(3, "score --dtype fp64 --model " + checkpoint + " --tokens " +
                                      (folder / "in.json").string() + " --layout t2 --out " +
                                      (folder / "ranks.json").string());

  ASSERT_EQ(result.exit_code, 0) << result.output;
  const json got = json::parse(std::ifstream(folder / "ranks.json"));
  for (size_t t = 0; t < 5; ++t) {
    EXPECT_NEAR(got["logprobs"][0][t].get<double>(), expected["logprobs"][0][t].get<double>(),
                1e-9);
  }
}

TEST(Convert, TakesARoleOutOfACheckpointOfTraining) {
  const TemporaryFolder folder;
  const Result trained =
      orrery(3, "train " + source("configs/grpo_tiny.cfg") +
                    " --set experiment.output_dir=" + folder.path().string() +
                    " --set experiment.total_steps=2 --set checkpoint.every_steps=2");
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  const fs::path run = folder / "grpo_tiny";
  const std::string checkpoint = (run / "checkpoints/latest").string();
  const json expected = scores(folder, (run / "models/latest/actor").string());

  EXPECT_TRUE(scores(folder, checkpoint) == expected);
  expect(0,
         orrery_alone("convert --role actor --from " + checkpoint + " --to " +
                      (folder / "actor").string()),
         "written");
  EXPECT_TRUE(scores(folder, (folder / "actor").string()) == expected);

  expect(0, orrery_alone("inspect " + checkpoint), "actor/parameters");
  expect(0, orrery_alone("inspect " + checkpoint), "actor/first_moment");
  expect(0, orrery_alone("inspect " + run.string()), "checkpoints/step-00000002");
  expect(0, orrery_alone("verify " + run.string()), "models/step-00000002/actor");
  expect(2, orrery_alone("score --model " + run.string() + " --tokens x --out y"), "run directory");

  // Damage of any file is found and named, and nobody computes with it.
  const fs::path file = run / "checkpoints/step-00000002/worker-0000.h5";
  std::fstream damaged(file, std::ios::in | std::ios::out | std::ios::binary);
  damaged.seekp(static_cast<std::streamoff>(fs::file_size(file) / 2));
  damaged.put('\x55').put('\xaa');
  damaged.close();
  expect(5, orrery_alone("verify " + run.string()), "worker-0000.h5");
  expect(5,
         orrery_alone("score --model " + checkpoint + " --tokens " + (folder / "in.json").string() +
                      " --out " + (folder / "z.json").string()),
         "worker-0000.h5");
  EXPECT_FALSE(fs::exists(folder / "z.json"));
}

TEST(Convert, MakesACheckpointThatTrainingStartsFrom) {
  const TemporaryFolder folder;
  const fs::path model = folder / "model";
  ASSERT_EQ(run("python3 " + source("tests/integration/widen_vocabulary.py") + " " + kModel + " " +
                model.string() + " 259")
                .exit_code,
            0);
  expect(0,
         orrery_alone("convert --from " + model.string() + " --to " +
                      (folder / "checkpoint").string()),
         "written");
  std::string last;
  for (const char* origin : {"model", "checkpoint"}) {
    const Result result =
        orrery(2, "train " + source("configs/grpo_tiny.cfg") + " --set experiment.name=of_" +
                      origin + " --set experiment.output_dir=" + folder.path().string() +
                      " --set model.actor.path=" + (folder / origin).string() +
                      " --set experiment.total_steps=1 --set call.actor_gen.max_new_tokens=8");
    ASSERT_EQ(result.exit_code, 0) << result.output;
    const std::string weights =
        contents(folder / (std::string("of_") + origin + "/models/latest/actor/model.safetensors"));
    if (!last.empty()) {
      EXPECT_TRUE(weights == last);
    }
    last = weights;
  }
}

TEST(Convert, ChangesTheTypeOfTheWeights) {
  const TemporaryFolder folder;
  const std::string model = with_tokenizer(folder);
  const std::string half = (folder / "half").string();

  expect(0, orrery_alone("convert --as hf --dtype bf16 --from " + model + " --to " + half),
         "written");

  EXPECT_LT(fs::file_size(half + "/model.safetensors"),
            fs::file_size(model + "/model.safetensors") * 6 / 10);
  EXPECT_EQ(json::parse(std::ifstream(half + "/config.json"))["torch_dtype"], "bfloat16");
  const json a = scores(folder, model), b = scores(folder, half);
  EXPECT_FALSE(a == b);
  EXPECT_NEAR(a["logprobs"][0][0].get<double>(), b["logprobs"][0][0].get<double>(), 0.2);
}

TEST(Convert, TakesARoleThatIsTrainedInBf16) {
  const TemporaryFolder folder;
  const Result trained =
      orrery(3, "train " + source("configs/grpo_tiny.cfg") +
                    " --set experiment.output_dir=" + folder.path().string() +
                    " --set model.actor.dtype=bf16 --set layout.default=t2" +
                    " --set experiment.total_steps=2 --set checkpoint.every_steps=2");
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  const fs::path run = folder / "grpo_tiny";
  const std::string checkpoint = (run / "checkpoints/latest").string();
  const json expected = scores(folder, (run / "models/latest/actor").string());

  EXPECT_TRUE(scores(folder, checkpoint) == expected);
  for (const char* dtype : {"", "--dtype fp32", "--dtype bf16"}) {
    SCOPED_TRACE(dtype);
    const std::string to = (folder / "actor").string();
    expect(0,
           orrery_alone("convert --overwrite --role actor --from " + checkpoint + " --to " + to +
                        " " + dtype),
           "written");
    EXPECT_TRUE(scores(folder, to) == expected);  // bf16 is what it has, in any type
  }
}

TEST(Convert, MakesACheckpointInBf16) {
  const TemporaryFolder folder;
  const std::string half = (folder / "half").string();
  const std::string checkpoint = (folder / "checkpoint").string();
  expect(0, orrery_alone("convert --as hf --dtype bf16 --from " + kModel + " --to " + half), "");

  expect(0,
         orrery_alone("convert --dtype bf16 --layout t2 --from " + kModel + " --to " + checkpoint),
         "written");

  expect(0, orrery_alone("inspect " + checkpoint), "bf16");
  expect(0, orrery_alone("verify " + checkpoint), "ok");
  EXPECT_TRUE(scores(folder, checkpoint) == scores(folder, half));
}

TEST(Convert, RefusesBadInputAndLeavesNothing) {
  const TemporaryFolder folder;
  const std::string to = (folder / "to").string();
  const std::string damaged = (folder / "damaged").string();
  ASSERT_EQ(run("cp -r " + kModel + " " + damaged + " && truncate -s 9000 " + damaged +
                "/model.safetensors")
                .exit_code,
            0);
  struct Example {
    std::string arguments, message;
  };
  const Example examples[] = {
      {"--from /nowhere --to " + to, "/nowhere"},
      {"--from " + kModel, "--to DIR is missing"},
      {"--from " + kModel + " --to " + kModel, "same directory"},
      {"--from " + kModel + " --to " + folder.path().string(), "not empty"},
      {"--from " + kModel + " --to " + to + " --as onnx", "--as must be"},
      {"--from " + kModel + " --to " + to + " --dtype int8", "--dtype must be"},
      {"--from " + kModel + " --to " + to + " --layout t3", "--layout t3"},
      {"--from " + kModel + " --to " + to + " --layuot t2", "did you mean --layout?"},
      {"--from " + damaged + " --to " + to, "model.safetensors"},
      {"--from " + damaged + " --as hf --to " + to, "model.safetensors"},
  };
  for (const Example& example : examples) {
    SCOPED_TRACE(example.arguments);
    expect(2, orrery_alone("convert " + example.arguments), example.message);
    EXPECT_FALSE(fs::exists(to));
    EXPECT_FALSE(fs::exists(to + ".writing"));
    EXPECT_FALSE(fs::exists(to + ".plain"));
  }
}

TEST(Inspect, ShowsEveryKindOfPath) {
  const TemporaryFolder folder;
  expect(0, orrery_alone("inspect " + kModel), "llama: 2 layers of 32");
  expect(0, orrery_alone("inspect " + kModel), "model.layers.1.mlp.down_proj.weight");
  expect(0, orrery_alone("inspect " + kModel + "/model.safetensors"), "lm_head.weight");
  const std::string checkpoint = (folder / "checkpoint").string();
  ASSERT_EQ(orrery_alone("convert --role ref --from " + kModel + " --to " + checkpoint).exit_code,
            0);
  expect(0, orrery_alone("inspect " + checkpoint), "ref/parameters");
  expect(0, orrery_alone("inspect " + checkpoint + "/worker-0000.h5"), "lm_head.weight");

  expect(2, orrery_alone("inspect /nowhere"), "/nowhere");
  expect(2, orrery_alone("inspect"), "orrery inspect PATH");
  expect(2, orrery_alone("inspect " + folder.path().string()), "nothing that is known");
  expect(2, orrery_alone("inspect " + kModel + "/config.json"), "no known kind");
}

TEST(Verify, NamesWhatIsDamaged) {
  const TemporaryFolder folder;
  const auto damaged = [&](const std::string& name, const std::string& command) {
    const std::string model = (folder / name).string();
    const Result made = run("cp -r " + kModel + " " + model + " && cd " + model + " && " + command);
    EXPECT_EQ(made.exit_code, 0) << made.output;
    return orrery_alone("verify --check " + model);
  };
  expect(0, damaged("good", "true"), "ok");
  expect(5, damaged("short", "truncate -s -1 model.safetensors"), "model.safetensors");
  expect(5, damaged("gone", "rm model.safetensors"), "model.safetensors");
  expect(5, damaged("config", "echo x > config.json"), "config.json");
  expect(5,
         damaged("nan",
                 "printf \"\\\\377\\\\377\\\\377\\\\377\" | dd of=model.safetensors bs=1 "
                 "conv=notrunc seek=$(($(stat -c %s model.safetensors) - 4)) status=none"),
         "NaN");
  expect(2, orrery_alone("verify /nowhere"), "/nowhere");
  expect(2, orrery_alone("verify --chek " + kModel), "did you mean --check?");
}

TEST(OneProcessCommands, RunOnceUnderMpirun) {
  const TemporaryFolder folder;
  const Result result = orrery(2, "verify " + kModel);
  expect(0, result, "ok");
  EXPECT_EQ(result.output.find("ok"), result.output.rfind("ok")) << result.output;
  std::ofstream(folder / "config.json") << "{}";
  expect(5, orrery(2, "verify " + folder.path().string()), "model_type");
}

}  // namespace
}  // namespace orrery::integration
