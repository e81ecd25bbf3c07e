#include "postgres/sqlstate.h"

#include <algorithm>
#include <array>

namespace walbrook {
namespace {

struct Rule {
    std::string_view prefix;  // Five characters: one code; two: a class.
    ErrorCode code;
};

// Exact codes stand before the classes that they belong to: the first match counts.
constexpr auto kRules = std::to_array<Rule>({
    {"08P01", ErrorCode::config},   // a pooler or server that refuses our start-up options
    {"25006", ErrorCode::config},   // read-only: a standby where a primary is needed
    {"25P02", ErrorCode::aborted},  // the transaction failed earlier
    {"25P03", ErrorCode::aborted},  // idle_in_transaction_session_timeout
    {"25P04", ErrorCode::aborted},  // transaction_timeout
    {"3D000", ErrorCode::config},   // no such database
    {"3F000", ErrorCode::schema_mismatch},
    {"42501", ErrorCode::permission},
    {"42601", ErrorCode::internal},         // our SQL
    {"42703", ErrorCode::schema_mismatch},  // column gone or renamed
    {"42704", ErrorCode::config},
    {"42P01", ErrorCode::schema_mismatch},  // table gone or renamed
    {"53300", ErrorCode::throttled},        // too many connections
    {"53400", ErrorCode::config},           // all replication slots or walsenders are in use
    {"55000", ErrorCode::config},           // wal_level, recovery, an invalidated slot
    {"55006", ErrorCode::unavailable},      // slot active for another process
    {"55P03", ErrorCode::conflict},         // lock not to be had
    {"57014", ErrorCode::aborted},          // cancelled by somebody else
    {"57P01", ErrorCode::unavailable},      // administrator's shutdown or terminate
    {"57P02", ErrorCode::unavailable},
    {"57P03", ErrorCode::unavailable},  // starting up
    {"57P04", ErrorCode::config},       // database dropped
    {"57P05", ErrorCode::unavailable},
    {"58P01", ErrorCode::missing_slot},  // a WAL file that the slot needs is gone
    {"72000", ErrorCode::aborted},       // snapshot too old
    {"XX001", ErrorCode::malformed},     // the source's table is damaged
    {"XX002", ErrorCode::malformed},
    {"08", ErrorCode::unavailable},
    {"0A", ErrorCode::config},
    {"22", ErrorCode::malformed},
    {"23", ErrorCode::conflict},
    {"25", ErrorCode::internal},
    {"28", ErrorCode::permission},
    {"40", ErrorCode::aborted},
    {"42", ErrorCode::internal},
    {"53", ErrorCode::unavailable},
    {"54", ErrorCode::config},
    {"57", ErrorCode::unavailable},
    {"58", ErrorCode::unavailable},
    {"P0", ErrorCode::config},   // raised by somebody's trigger or function
    {"XX", ErrorCode::aborted},  // races with DDL end as "cache lookup failed"
});

}  // namespace

ErrorCode error_code_of_sqlstate(std::string_view sqlstate) {
    const auto rule = std::find_if(kRules.begin(), kRules.end(), [&](const Rule& candidate) {
        return sqlstate.starts_with(candidate.prefix);
    });
    return rule == kRules.end() ? ErrorCode::unavailable : rule->code;
}

}  // namespace walbrook
