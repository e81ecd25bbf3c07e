#pragma once

#include "walbrook/result.h"

#include <string>

namespace walbrook {

// What an operator does about a table (schema.name) that stopped. `again`: a new copy is planned.
std::string remedy_of(const Error& error, const std::string& table, bool again);

// A copy whose session is refused (a password that was changed, a right that was revoked) is
// tried again: that is no matter of its table, and what is streamed goes on meanwhile. When the
// stream itself has to connect again and is refused, the pipeline stops.
Error refused_connection(Error error);

}  // namespace walbrook
