#pragma once

#include "walbrook/result.h"

#include <optional>
#include <string>
#include <string_view>

namespace walbrook {

// Whose session it was to be, and where. What is not known is empty.
struct Login {
    std::string_view role;
    std::string_view database;
};

// What to do about a session that could not be opened.
struct ConnectRemedy {
    std::string text;               // Empty: the error says it all.
    std::optional<ErrorCode> code;  // Where the SQLSTATE says less: libpq's own errors have none.
};

// `text` is what libpq said, in English (we never set another locale).
ConnectRemedy connect_remedy(std::string_view sqlstate, std::string_view text,
                             const Login& login = {});

}  // namespace walbrook
