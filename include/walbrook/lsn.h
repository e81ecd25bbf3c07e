#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace walbrook {

// A byte position in the source's write-ahead log; 0 means "none yet".
// Text form as Postgres prints it: two hexadecimal halves, "16/B374D848"
// (Postgres manual, "pg_lsn Type").
struct Lsn {
    std::uint64_t value = 0;
    auto operator<=>(const Lsn&) const = default;
    explicit operator bool() const { return value != 0; }
};

// Behind every position that a server names: "without a limit".
inline constexpr Lsn kLsnMax{UINT64_MAX};

// "16/B374D848".
std::string to_string(Lsn lsn);
// Nothing unless the whole text is one position.
std::optional<Lsn> parse_lsn(std::string_view text);

// The key of an event, the same after every reconnect: where its transaction's
// commit record starts, and which of the transaction's surviving row and truncate
// messages it is, from 1. Copied rows have ordinal 0.
struct EventKey {
    Lsn commit_lsn;
    std::uint64_t ordinal = 0;
    auto operator<=>(const EventKey&) const = default;
};

}  // namespace walbrook
