// What all subcommands have in common when their arguments are read.
#pragma once

#include <boost/program_options.hpp>
#include <span>
#include <string>

namespace orrery::config {

/// Which options were given; their values go where the description says.
///   command     for messages, `orrery plan`
///   positional  name of the option that a bare argument is; empty: there are none
///   most        bare arguments at most; -1: any number
/// Throws ConfigError for an unknown option (with the nearest known one), a missing or wrong value.
boost::program_options::variables_map parse_arguments(
    std::span<const std::string> arguments,
    const boost::program_options::options_description& description, const std::string& command,
    const std::string& positional, int most = 1);

/// The options as --help shows them.
std::string text_of(const boost::program_options::options_description& description);

}  // namespace orrery::config
