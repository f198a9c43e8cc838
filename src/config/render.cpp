// The field lists as text: the resolved configuration, the help, the documentation.
#include <sstream>

#include "orrery/base/text.h"
#include "orrery/config/load.h"

namespace orrery::config {

namespace {

template <class T>
struct ValueWriter {
  std::ostream& out;
  const T& source;

  template <class Value>
  void operator()(Value T::*member, const char* name, const char*, const Check& = {}) {
    out << name << " = " << value_text(source.*member) << "\n";
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
      "One section for each data set. All but the one that `evaluate.dataset` names "
      "are trained on.",
      schema_of<DatasetConfig>());
  row("model.X",
      "One section for each role. Sizes are read from `path` when it is given; the "
      "optimizer's keys matter for roles that are trained.",
      schema_of<ModelConfig>());
  row("call.X",
      "One section for each model function call of a step; options of its interface "
      "follow below.",
      schema_of<CallConfig>());
  row("evaluate", "", schema_of<EvaluateConfig>());
  row("export", "Exports are Hugging Face directories in `models/` of the run directory.",
      schema_of<ExportConfig>());
  row("checkpoint", "", schema_of<CheckpointConfig>());
}

std::string allowed(const FieldInfo& field) {
  return field.check.text.empty() ? field.type : field.check.text;
}

}  // namespace

std::string resolved_config(const Experiment& experiment, const InterfaceSchemas& interfaces) {
  std::ostringstream out;
  out << "# Every key of this run, as it was read. It can be given to `orrery train` again.\n";
  write_section(out, "experiment", experiment.experiment);
  write_section(out, "layout", experiment.layout);
  write_section(out, "checkpoint", experiment.checkpoint);
  write_section(out, "evaluate", experiment.evaluate);
  write_section(out, "export", experiment.export_);
  for (const auto& [name, dataset] : experiment.datasets) {
    write_section(out, "dataset." + name, dataset);
  }
  for (const auto& [name, model] : experiment.models) write_section(out, "model." + name, model);
  for (const auto& [name, call] : experiment.calls) {
    write_section(out, "call." + name, call);
    const auto schema = interfaces.find(call.interface);
    if (schema == interfaces.end()) continue;
    for (const FieldInfo& field : schema->second) {
      std::string value = field.default_text;
      for (const Option& option : call.options) {
        if (option.name == field.name) value = option.value;
      }
      out << field.name << " = " << value << "\n";
    }
  }
  return std::move(out).str();
}

std::string configuration_help(const InterfaceSchemas& interfaces) {
  std::ostringstream out;
  const auto write = [&](const std::string& title, const std::string& note, const Schema& schema) {
    out << "\n[" << title << "]\n";
    if (!note.empty()) out << "  " << note << "\n";
    for (const FieldInfo& field : schema) {
      out << "  " << field.name << " = " << field.default_text << "\n      " << field.help << " ("
          << allowed(field) << ")\n";
    }
  };
  for_each_section(write);
  for (const auto& [name, schema] : interfaces) {
    if (!schema.empty()) write("call.X] with interface = " + name + " [", "", schema);
  }
  return std::move(out).str();
}

std::string configuration_markdown(const InterfaceSchemas& interfaces) {
  std::ostringstream out;
  out << "# Configuration\n\n"
         "This page is made from the field lists of the program (`orrery train --help --markdown`);"
         " a test\nholds it current. Every key can be overridden on the command line: "
         "`--set model.actor.lr=1e-5`.\n\n"
         "Files are INI: `[section]`, `key = value`, comments after `#` or `;`. `include = file`, "
         "before the first\nsection, reads another file first, whose keys this one overrides. "
         "Paths "
         "that are read are relative to\nthe file that states them (with `--set`: to the working "
         "directory).\n";
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
          << (field.default_text.empty() ? "" : "`" + field.default_text + "`") << " | "
          << allowed(field) << " | " << field.help << " |\n";
    }
  };
  for_each_section([&](const std::string& name, const std::string& note, const Schema& schema) {
    write("[" + name + "]", note, schema);
  });
  for (const auto& [name, schema] : interfaces) write("Options of interface " + name, "", schema);
  return std::move(out).str();
}

}  // namespace orrery::config
