// Answers a second that a worker gets judged by a trivial Python function through the runner, one
// process, everything included but the decoding of tokens: questions written, sent, read, judged,
// answered, read. Beside it the same judge as a program of one line a question. Then the processor
// time of both sides together, which other programs on the machine do not change: answers a second
// and core.
//
//   bench_rewards [ANSWERS]
#include <sys/resource.h>  // getrusage
#include <unistd.h>        // getpid

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "orrery/algorithm/answer_judge.h"

namespace orrery::algorithm {
namespace {

constexpr size_t kCharacters = 256;

constexpr const char* kFunction = R"(
def reward(records):
    return [float(record["response"][-1] == record["answer"]) for record in records]
)";

constexpr const char* kProgram = R"(
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    reward = float(question["response"][-1] == question["answer"])
    print(json.dumps({"id": question["id"], "reward": reward}), flush=True)
)";

std::vector<Response> responses(size_t n) {
  std::vector<Response> result;
  for (size_t i = 0; i < n; ++i) {
    std::string text(kCharacters, ' ');
    for (size_t k = 0; k < text.size(); ++k)
      text[k] = static_cast<char>('a' + (i * 31 + k * 7) % 26);
    result.push_back({.sample = {i},
                      .prompt = "What comes at the end?",
                      .record_prompt = "What comes at the end?",
                      .text = std::move(text),
                      .answer = "a",
                      .fields = "{\"level\":3}"});
  }
  return result;
}

double answers_per_second(AnswerJudge& judge, const std::vector<Response>& responses) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<const Response*> pointers;
  std::vector<std::string> questions;
  for (const Response& response : responses) {
    pointers.push_back(&response);
    questions.push_back(judge.question(response));
  }
  size_t n_rewards = 0;
  judge.ask(pointers, questions,
            [&](size_t, const Verdict& verdict) { n_rewards += verdict.failure ? 0 : 1; });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  if (n_rewards != responses.size()) std::printf("only %zu rewards\n", n_rewards);
  return static_cast<double>(n_rewards) / took.count();
}

/// Of this process and of those that it has waited for.
double processor_seconds() {
  double seconds = 0;
  for (const auto who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    getrusage(who, &usage);
    for (const timeval& time : {usage.ru_utime, usage.ru_stime}) {
      seconds += static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    }
  }
  return seconds;
}

/// Rounds of all answers, the start of the function's process included.
double answers_per_processor_second(const PythonFunction& function,
                                    const std::vector<Response>& responses, int n_rounds) {
  const double begin = processor_seconds();
  {
    Spawner spawner;  // waits for the function's process, and is waited for
    AnswerJudge judge(spawner, {.command = runner_command(function)}, function);
    for (int round = 0; round < n_rounds; ++round) answers_per_second(judge, responses);
  }
  return static_cast<double>(responses.size()) * n_rounds / (processor_seconds() - begin);
}

void run(size_t n) {
  const std::filesystem::path folder = std::filesystem::temp_directory_path();
  const std::string file = (folder / ("bench_rewards-" + std::to_string(getpid()))).string();
  std::ofstream(file + ".py") << kFunction;
  std::ofstream(file + "-program.py") << kProgram;
  Spawner spawner;
  const PythonFunction function{.where = file + ".py:reward"};
  AnswerJudge by_function(spawner, {.command = runner_command(function)}, function);
  AnswerJudge by_program(spawner, {.command = "python3 -u " + file + "-program.py"});
  const std::vector<Response> few = responses(n / 10), many = responses(n);
  answers_per_second(by_function, few);  // starts it
  answers_per_second(by_program, few);
  for (int round = 0; round < 5; ++round) {
    const double function_rate = answers_per_second(by_function, many);
    const double program_rate = answers_per_second(by_program, few);
    std::printf(
        "answers of %zu characters: %.0f/s by a function, %.0f/s by a program, %.1f times\n",
        kCharacters, function_rate, program_rate, function_rate / program_rate);
  }
  std::printf("%.0f answers a second and core, both processes together\n",
              answers_per_processor_second(function, many, 10));
  std::filesystem::remove(file + ".py");
  std::filesystem::remove(file + "-program.py");
}

}  // namespace
}  // namespace orrery::algorithm

int main(int argc, char** argv) { orrery::algorithm::run(argc > 1 ? std::stoul(argv[1]) : 20'000); }
