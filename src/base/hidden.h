#pragma once

#include <string>
#include <string_view>

namespace walbrook {

// `text` with "***" wherever `secret` stands in it. An empty secret stands nowhere.
std::string hidden(std::string text, std::string_view secret);

}  // namespace walbrook
