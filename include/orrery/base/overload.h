// One function of several lambdas, for std::visit: an alternative that none of them takes does not
// compile. Example: std::visit(Overload{[](int) {}, [](const std::string&) {}}, value)
#pragma once

namespace orrery::base {

template <class... Functions>
struct Overload : Functions... {
  using Functions::operator()...;
};

}  // namespace orrery::base
