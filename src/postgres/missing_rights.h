#pragma once

#include "postgres/connection.h"

#include <cstdint>
#include <span>
#include <string>

namespace walbrook {

// The statements, one after the other ("grant …; grant …"), that give the session's role what the
// copy of these tables needs and it does not have; empty when nothing is missing.
Result<std::string> missing_rights(Connection& connection, const Deadline& deadline,
                                   std::span<const std::uint32_t> tables);

}  // namespace walbrook
