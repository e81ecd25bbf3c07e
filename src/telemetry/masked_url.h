#pragma once

#include <string>
#include <string_view>

namespace walbrook {

// without_secrets() of a url that is the whole text: its password may hold what would end it in
// another.
std::string url_without_secrets(std::string_view url);

}  // namespace walbrook
