#include "teacher_checks.h"

#include <algorithm>
#include <optional>
#include <string>

#include "orrery/base/text.h"

namespace orrery::cli {

namespace {

/// The call that writes what `call` reads as `key`; null: none.
const graph::Call* writer_of(const Job& job, const graph::Call& call, const char* key) {
  for (const config::KeyBinding& input : call.inputs) {
    if (input.interface_key != key) continue;
    const int writer = job.graph.producer(input.graph_key);
    if (writer >= 0) return &job.graph.call(writer);
  }
  return nullptr;
}

bool is_trained(const Job& job, const std::string& role) {
  return std::any_of(job.graph.calls().begin(), job.graph.calls().end(),
                     [&](const graph::Call& call) {
                       return call.role == role && call.kind == graph::CallKind::kTrainStep;
                     });
}

struct Vocabularies {
  int64_t student = 0;
  int64_t teacher = 0;
};

/// Nothing: they are as large, or an architecture could not be read.
std::optional<Vocabularies> differing_vocabularies(const Job& job, const graph::Call& student,
                                                   const graph::Call& teacher) {
  const auto of_student = job.architectures.find(student.role);
  const auto of_teacher = job.architectures.find(teacher.role);
  if (of_student == job.architectures.end() || of_teacher == job.architectures.end()) return {};
  const Vocabularies sizes{of_student->second.vocab_size, of_teacher->second.vocab_size};
  return sizes.student == sizes.teacher ? std::nullopt : std::optional(sizes);
}

/// Log-probabilities of tokens can be compared where a vocabulary only has more places than tokens.
void check_teacher_of_tokens(const Job& job, const graph::Call& call, const graph::Call& teacher,
                             Checks& checks) {
  const auto sizes = differing_vocabularies(job, call, teacher);
  if (!sizes) return;
  checks.warn(base::concat("call.", call.name, ".model"),
              base::concat("role ", call.role, " has a vocabulary of ", sizes->student,
                           ", but its teacher ", teacher.role, " one of ", sizes->teacher,
                           ": that is sound where the larger one has places that stand for no "
                           "token, as padding; else the models have different tokenizers"));
}

void check_teacher(const Job& job, const graph::Call& call, const graph::Call& teacher,
                   Checks& checks) {
  const std::string key = base::concat("call.", call.name);
  if (teacher.interface != "distill_full") {
    checks.add(key + ".inputs",
               base::concat("teacher_hidden comes from call.", teacher.name, " of interface ",
                            teacher.interface, "; it must be an inference call of distill_full"));
  }
  if (is_trained(job, teacher.role)) {
    checks.add(base::concat("call.", teacher.name, ".model"),
               base::concat("role ", teacher.role, " is the teacher of call.", call.name,
                            " and trained as well; a teacher stays as it is: give it a role of its "
                            "own"));
  }
  if (teacher.layout != call.layout) {
    checks.add(key + ".layout", base::concat("is ", call.layout.text(), ", but call.", teacher.name,
                                             ", whose head ", "it needs on the same workers, has ",
                                             teacher.layout.text(), "; give both one layout"));
  }
  const auto sizes = differing_vocabularies(job, call, teacher);
  if (!sizes) return;
  checks.add(
      key + ".model",
      base::concat("role ", call.role, " has a vocabulary of ", sizes->student,
                   ", but its teacher ", teacher.role, " one of ", sizes->teacher,
                   ": their distributions cannot be compared; use models of one tokenizer, "
                   "or interface distill, which needs the log-probabilities of tokens only"));
}

}  // namespace

void check_teachers(const Job& job, Checks& checks) {
  for (const graph::Call& call : job.graph.calls()) {
    if (call.kind != graph::CallKind::kTrainStep) continue;
    if (const graph::Call* teacher = writer_of(job, call, "teacher_logprobs")) {
      check_teacher_of_tokens(job, call, *teacher, checks);
    }
    if (const graph::Call* teacher = writer_of(job, call, "teacher_hidden")) {
      check_teacher(job, call, *teacher, checks);
    }
  }
}

}  // namespace orrery::cli
