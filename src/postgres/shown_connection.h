#pragma once

#include <string>
#include <string_view>

namespace walbrook {

// A url or a connection string of libpq (also behind DuckLake's "postgres:") as it may be shown:
// its secrets are "***". It is taken apart by libpq itself, which knows where a secret ends. What
// libpq cannot read, or reads in another way than its writer meant (a password with a bare '/' or
// '@'), is shown only as far as no secret can be in it; other text as without_secrets() shows it.
std::string shown_connection(std::string_view text);

}  // namespace walbrook
