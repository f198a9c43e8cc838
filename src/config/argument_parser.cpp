#include "argument_parser.h"

#include <sstream>
#include <vector>

#include "orrery/base/error.h"
#include "orrery/base/text.h"

namespace orrery::config {

namespace po = boost::program_options;

po::variables_map parse_arguments(std::span<const std::string> arguments,
                                  const po::options_description& description,
                                  const std::string& command, const std::string& positional,
                                  int most) {
  po::positional_options_description bare;
  if (!positional.empty()) bare.add(positional.c_str(), most);
  po::variables_map values;
  try {
    po::store(
        po::command_line_parser(std::vector(arguments.begin(), arguments.end()))
            .options(description)
            .positional(bare)
            .style(po::command_line_style::unix_style & ~po::command_line_style::allow_guessing)
            .run(),
        values);
    po::notify(values);
  } catch (const po::unknown_option& error) {
    std::vector<std::string> known;
    for (const auto& option : description.options()) {
      if (option->long_name() != positional) known.push_back("--" + option->long_name());
    }
    std::string text = base::concat(command, ": unknown option ", error.get_option_name());
    if (const auto meant = base::nearest(error.get_option_name(), known)) {
      text += "; did you mean " + *meant + "?";
    }
    throw ConfigError(text + "; see " + command + " --help");
  } catch (const po::error& error) {
    throw ConfigError(base::concat(command, ": ", error.what(), "; see ", command, " --help"));
  }
  return values;
}

std::string text_of(const po::options_description& description) {
  std::ostringstream out;
  out << description;
  return std::move(out).str();
}

}  // namespace orrery::config
