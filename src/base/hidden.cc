#include "base/hidden.h"

namespace walbrook {

std::string hidden(std::string text, std::string_view secret) {
    constexpr std::string_view kMark = "***";
    if (secret.empty()) return text;
    // On behind the mark: a secret of stars stands in it.
    for (std::size_t at = 0; (at = text.find(secret, at)) != std::string::npos;
         at += kMark.size()) {
        text.replace(at, secret.size(), kMark);
    }
    return text;
}

}  // namespace walbrook
