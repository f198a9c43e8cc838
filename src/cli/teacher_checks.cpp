#include "teacher_checks.h"

#include <algorithm>
#include <string>

#include "orrery/base/text.h"

namespace orrery::cli {

namespace {

/// The call that writes what `call` reads as teacher_hidden; null: none.
const graph::Call* teacher_of(const Job& job, const graph::Call& call) {
  for (const config::KeyBinding& input : call.inputs) {
    if (input.interface_key != "teacher_hidden") continue;
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
  const auto student_model = job.architectures.find(call.role);
  const auto teacher_model = job.architectures.find(teacher.role);
  if (student_model == job.architectures.end() || teacher_model == job.architectures.end() ||
      student_model->second.vocab_size == teacher_model->second.vocab_size) {
    return;
  }
  checks.add(
      key + ".model",
      base::concat("role ", call.role, " has a vocabulary of ", student_model->second.vocab_size,
                   ", but its teacher ", teacher.role, " one of ", teacher_model->second.vocab_size,
                   ": their distributions cannot be compared; use models of one tokenizer, "
                   "or interface distill, which needs the log-probabilities of tokens only"));
}

}  // namespace

void check_teachers(const Job& job, Checks& checks) {
  for (const graph::Call& call : job.graph.calls()) {
    if (call.kind != graph::CallKind::kTrainStep) continue;
    if (const graph::Call* teacher = teacher_of(job, call)) {
      check_teacher(job, call, *teacher, checks);
    }
  }
}

}  // namespace orrery::cli
