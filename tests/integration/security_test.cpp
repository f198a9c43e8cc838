// What a job promises to others on the machine: no text of the data reaches a shell or a command
// line, commands of rewards are told of samples on their standard input and nowhere else, and files
// have the permissions that the user's umask says. (Names in manifests: checkpoint.manifest;
// damaged files: checkpoint.mutation.)
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "integration/runs_for_test.h"

namespace orrery::integration {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Until the end of its life the process has this umask, and so have those that it starts.
class Umask {
 public:
  explicit Umask(mode_t mask) : before_(::umask(mask)) {}
  ~Umask() { ::umask(before_); }
  Umask(const Umask&) = delete;
  Umask& operator=(const Umask&) = delete;

 private:
  mode_t before_;
};

/// Checks everything below a folder; returns how many files there are.
int expect_permissions(const fs::path& root, mode_t mask) {
  int n_files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_symlink()) continue;
    struct stat status {};
    EXPECT_EQ(::lstat(entry.path().c_str(), &status), 0) << entry.path();
    const mode_t most = entry.is_directory() ? 0777 : 0666;
    EXPECT_EQ(status.st_mode & 0777, most & ~mask) << entry.path();
    n_files += entry.is_regular_file() ? 1 : 0;
  }
  return n_files;
}

/// Files below a folder that contain a text.
std::vector<std::string> files_with(const fs::path& root, const std::string& text) {
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string content(std::istreambuf_iterator<char>(in), {});
    if (content.find(text) != std::string::npos) found.push_back(entry.path().string());
  }
  return found;
}

// Of umask 0 nothing is left for everyone to write.
TEST(Security, EveryFileHasThePermissionsOfTheUsersUmaskAndNoSecretOfTheEnvironment) {
  const std::string secret = "hf_secret_of_the_environment";
  ::setenv("HF_TOKEN", secret.c_str(), 1);
  for (const mode_t mask : {mode_t{0}, mode_t{027}, mode_t{077}}) {
    SCOPED_TRACE(mask);
    const TemporaryFolder folder;
    const Umask own(mask);
    const fs::path runs = folder / "runs";

    const Result trained =
        orrery(3, tiny(folder) + " --set experiment.output_dir=" + runs.string() +
                      " --set experiment.total_steps=2 --set checkpoint.every_steps=1");
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
    const std::string checkpoint = (runs / "grpo_tiny/checkpoints/latest").string();
    const Result converted =
        orrery_alone("convert --from " + checkpoint + " --to " + (runs / "model").string());
    ASSERT_EQ(converted.exit_code, 0) << converted.output;
    std::ofstream(folder / "in.json") << R"({"sequences": [[1, 2, 3]]})";
    const Result scored =
        orrery_alone("score --model " + (runs / "model").string() + " --tokens " +
                     (folder / "in.json").string() + " --out " + (runs / "out.json").string());
    ASSERT_EQ(scored.exit_code, 0) << scored.output;

    // config.cfg, log.txt, metrics, samples, states, traces, events, models, checkpoints.
    EXPECT_GT(expect_permissions(runs, mask | 002), 20);
    EXPECT_EQ(files_with(folder.path(), secret), std::vector<std::string>{});
    EXPECT_EQ(trained.output.find(secret), std::string::npos);
  }
}

/// Writes down what it was started with, beside itself, then gives a reward to every question.
constexpr const char* kCurious = R"(
import json, os, sys
with open(os.path.join(os.path.dirname(sys.argv[0]), f"started-{os.getpid()}"), "w") as out:
    json.dump({"words": sys.argv, "environment": dict(os.environ)}, out)
for line in sys.stdin:
    question = json.loads(line)
    print(json.dumps({"id": question["id"], "reward": len(question["response"]) % 2}), flush=True)
)";

TEST(Security, TextOfTheDataReachesCommandsOnStandardInputOnlyAndNoShell) {
  const TemporaryFolder folder;
  std::ofstream(folder / "judge.py") << kCurious;
  std::ofstream data(folder / "data.jsonl");
  for (int i = 0; i < 16; ++i) {
    const std::string n = std::to_string(i);
    for (const std::string& prompt :
         {"SECRET" + n + "$(touch INJECTED)", "SECRET" + n + "`touch INJECTED`",
          "SECRET" + n + "; touch INJECTED;", "SECRET" + n + "\"' | touch INJECTED #"}) {
      data << json{{"prompt", prompt}, {"answer", "$(touch INJECTED)"}} << "\n";
    }
  }
  data.close();
  fs::remove("INJECTED");

  const Result result = orrery(
      3, tiny(folder, "--set dataset.train.path=" + (folder / "data.jsonl").string() +
                          " --set dataset.eval.path=" + (folder / "data.jsonl").string() +
                          " --set call.reward.interface=command_reward --set "
                          "call.reward.command=\"python3 -u " +
                          (folder / "judge.py").string() + " \\$(touch\\ INJECTED) ; touch x\""));

  ASSERT_EQ(result.exit_code, 0) << result.output;
  EXPECT_FALSE(fs::exists("INJECTED"));
  EXPECT_FALSE(fs::exists("x"));
  int n_started = 0;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    if (!entry.path().filename().string().starts_with("started-")) continue;
    ++n_started;
    std::stringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    EXPECT_EQ(text.str().find("SECRET"), std::string::npos) << text.str();
    // The words of the configuration as they are: a shell would have taken them apart.
    const json words = json::parse(text.str())["words"];
    ASSERT_GE(words.size(), 4u) << words;
    EXPECT_EQ(words[1].get<std::string>().substr(0, 2), "$(") << words;
    EXPECT_EQ(words.back(), "x") << words;
  }
  EXPECT_GE(n_started, 2);
  // The commands were asked about these samples all the same.
  const auto samples = read_jsonl(folder / "grpo_tiny/samples/step-00000001-rank-0.jsonl");
  ASSERT_FALSE(samples.empty());
  EXPECT_EQ(samples[0]["prompt"].get<std::string>().substr(0, 6), "SECRET");
}

}  // namespace
}  // namespace orrery::integration
