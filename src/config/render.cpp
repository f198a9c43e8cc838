// The field lists as text: the resolved configuration, the help, the documentation.
#include <sstream>

#include "orrery/base/text.h"
#include "orrery/config/load.h"
#include "orrery/config/options.h"
#include "orrery/config/renamed_keys.h"

namespace orrery::config {

namespace {

void write_key(std::ostream& out, const std::string& name, const std::string& value) {
  out << name << " =" << (value.empty() ? "" : " ") << quoted_if_needed(value) << "\n";
}

template <class T>
struct ValueWriter {
  std::ostream& out;
  const T& source;

  template <class Value, class Owner>  // T or a base of it
  void operator()(Value Owner::*member, const char* name, const char*, const Check& check = {}) {
    const std::string text = value_text(source.*member);
    // A default that is not allowed: half a call that is switched off, where the key is not given.
    if (check.problem && check.problem(text)) return;
    write_key(out, name, text);
  }
};

template <class T>
void write_section(std::ostream& out, const std::string& name, const T& section) {
  out << "\n[" << name << "]\n";
  ValueWriter<T> writer{out, section};
  T::visit_fields(writer);
}

/// What a table or help says of every section, in this order.
template <class Row>
void for_each_section(Row&& row) {
  row("experiment", "", schema_of<ExperimentSection>());
  row("layout", "", schema_of<LayoutSection>());
  row("dataset.X",
      "One section for each data set. All but those that are evaluated are trained on, unless "
      "`use` "
      "says otherwise.",
      schema_of<DatasetConfig>());
  row("model.X",
      "One section for each role. Sizes are read from `path` when it is given; the "
      "optimizer's keys matter for roles that are trained.",
      schema_of<ModelConfig>());
  row("call.X",
      "One section for each model function call of a step; options of its interface "
      "follow below.",
      schema_of<CallConfig>());
  row("dynamic_sampling",
      "Groups of answers that all get the same reward teach nothing: a step can draw others "
      "instead.",
      schema_of<DynamicSamplingConfig>());
  row("evaluate", "Explained in [evaluation.md](evaluation.md).", schema_of<EvaluateConfig>());
  row("evaluate.X",
      "One section for each evaluation set X of `evaluate.sets`, where it differs from what "
      "`[evaluate]` says of all.",
      schema_of<EvaluationSetConfig>());
  row("export", "Exports are Hugging Face directories in `models/` of the run directory.",
      schema_of<ExportConfig>());
  row("checkpoint", "", schema_of<CheckpointConfig>());
}

std::string allowed(const FieldInfo& field) {
  return field.check.text.empty() ? field.type : field.check.text;
}

/// Text of a table's cell: a bar would end it.
std::string cell(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

}  // namespace

std::string resolved_config(const Experiment& experiment, const InterfaceSchemas& interfaces) {
  std::ostringstream out;
  out << "# Every key of this run, as it was read. It can be given to `orrery train` again.\n";
  write_section(out, "experiment", experiment.experiment);
  write_section(out, "layout", experiment.layout);
  write_section(out, "checkpoint", experiment.checkpoint);
  write_section(out, "evaluate", experiment.evaluate);
  for (const EvaluationSet& set : experiment.evaluation_sets) {
    if (!set.name.empty()) write_section(out, base::concat("evaluate.", set.name), set.options);
  }
  write_section(out, "export", experiment.export_);
  // Its keys mean nothing otherwise.
  if (experiment.dynamic_sampling.enabled) {
    write_section(out, "dynamic_sampling", experiment.dynamic_sampling);
  }
  for (const auto& [name, dataset] : experiment.datasets) {
    write_section(out, base::concat("dataset.", name), dataset);
  }
  for (const auto& [name, model] : experiment.models) {
    write_section(out, base::concat("model.", name), model);
  }
  for (const auto& [name, call] : experiment.calls) {
    write_section(out, base::concat("call.", name), call);
    const auto schema = interfaces.find(call.interface);
    if (schema == interfaces.end()) continue;
    for (const FieldInfo& field : schema->second) {
      write_key(out, field.name, option_or(call, field.name, field.default_text));
    }
  }
  return std::move(out).str();
}

Schema schema_of_section(std::string_view section) {
  const size_t dot = section.find('.');
  const std::string kind(section.substr(0, dot));
  const std::string row_name = dot == std::string_view::npos ? kind : kind + ".X";
  Schema found;
  for_each_section([&](std::string_view name, std::string_view, const Schema& schema) {
    if (name == row_name) found = schema;
  });
  return found;
}

std::string configuration_help(const InterfaceSchemas& interfaces) {
  std::ostringstream out;
  const auto write = [&](const std::string& title, const std::string& note, const Schema& schema) {
    out << "\n" << title << "\n";
    if (!note.empty()) out << "  " << note << "\n";
    for (const FieldInfo& field : schema) {
      out << "  " << field.name << " = " << field.default_text << "\n      " << field.help << " ("
          << allowed(field) << ")\n";
    }
  };
  for_each_section([&](const std::string& name, const std::string& note, const Schema& schema) {
    write(base::concat("[", name, "]"), note, schema);
  });
  for (const auto& [name, schema] : interfaces) {
    if (!schema.empty()) write(base::concat("[call.X] with interface = ", name), "", schema);
  }
  return std::move(out).str();
}

std::string configuration_markdown(const InterfaceSchemas& interfaces) {
  std::ostringstream out;
  out << R"(# Configuration

This page is made from the field lists of the program: `orrery train --help --markdown`. A test holds
it current.

```
include = graphs/grpo.cfg      # before the first section; several are possible
[model.actor]
lr = 1e-4                      # comments begin with # or ; at a line's start or after a blank
path = "../models/a #1"        ; in quotes both are text, and "" is one quote
```

A file may say each key once. It overrides what its includes say, and a later include overrides an
earlier one. `--set model.actor.lr=1e-5` on the command line overrides both; the key is what follows
the last dot. Paths of things that are read are relative to the file that states them, with `--set`
to the working directory; `experiment.output_dir` is relative to the working directory. The names X
of `[dataset.X]`, `[evaluate.X]`, `[model.X]` and `[call.X]` have letters, digits, _ and -.

All mistakes are reported together, each with file and line, before anything is started (exit code
2). `orrery plan CONFIG` checks a configuration and shows what a run would be. The run directory gets
the whole configuration with all defaults as `config.cfg`, which can be given to `orrery train` again.
)";
  const auto write = [&](const std::string& title, const std::string& note, const Schema& schema) {
    out << "\n## " << title << "\n\n";
    if (!note.empty()) out << note << "\n\n";
    if (schema.empty()) {
      out << "No options.\n";
      return;
    }
    out << "| key | default | allowed | meaning |\n| --- | --- | --- | --- |\n";
    for (const FieldInfo& field : schema) {
      out << "| `" << field.name << "` | "
          << (field.default_text.empty() ? "" : base::concat("`", field.default_text, "`")) << " | "
          << cell(allowed(field)) << " | " << cell(field.help) << " |\n";
    }
  };
  for_each_section([&](const std::string& name, const std::string& note, const Schema& schema) {
    write(base::concat("[", name, "]"), note, schema);
  });
  for (const auto& [name, schema] : interfaces) {
    write(base::concat("Options of interface ", name), "", schema);
  }
  out << "\n## Old names\n\nThis version reads these names of the version before, with a notice; "
         "the "
         "next one will not.\n\n| section | old name | name |\n| --- | --- | --- |\n";
  for (const RenamedKey& key : renamed_keys()) {
    out << "| [" << key.kind << ".X] | `" << key.old_name << "` | `" << key.name << "`"
        << (key.value == OldValue::kOneMinus    ? ", 1 - the old value"
            : key.value == OldValue::kAllOrNone ? ", `true` is `all`, `false` is `0`"
                                                : "")
        << " |\n";
  }
  return std::move(out).str();
}

}  // namespace orrery::config
