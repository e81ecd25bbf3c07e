#include "walbrook/lsn.h"

#include <fmt/format.h>

#include <charconv>

namespace walbrook {

std::string to_string(Lsn lsn) {
    return fmt::format("{:X}/{:X}", lsn.value >> 32, lsn.value & 0xFFFFFFFFULL);
}

std::optional<Lsn> parse_lsn(std::string_view text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    std::uint32_t halves[2];
    const std::string_view parts[2] = {text.substr(0, slash), text.substr(slash + 1)};
    for (int i = 0; i < 2; ++i) {
        const char* end = parts[i].data() + parts[i].size();
        const auto [stop, error] = std::from_chars(parts[i].data(), end, halves[i], 16);
        if (error != std::errc() || stop != end) return std::nullopt;
    }
    return Lsn{std::uint64_t{halves[0]} << 32 | halves[1]};
}

}  // namespace walbrook
