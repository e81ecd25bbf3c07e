#pragma once

#include "walbrook/result.h"

#include <optional>
#include <string_view>

namespace walbrook {

// What to do about a session that could not be opened.
struct ConnectRemedy {
    std::string_view text;          // Empty: the error says it all.
    std::optional<ErrorCode> code;  // Where the SQLSTATE says less: libpq's own errors have none.
};

// `text` is what libpq said, in English (we never set another locale).
ConnectRemedy connect_remedy(std::string_view sqlstate, std::string_view text);

}  // namespace walbrook
