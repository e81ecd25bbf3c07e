#include "pipeline/remedies.h"

namespace walbrook {

std::string remedy_of(const Error& error, const std::string& table, bool again) {
    std::string remedy = "mend the cause";
    if (error.code() == ErrorCode::permission) {
        remedy =
            "grant the role SELECT on the table and USAGE on its schema; where row level security "
            "would hide rows from it, BYPASSRLS (alter role … bypassrls)";
    }
    if (!again) return remedy + ", then copy the table again: walbrook resync " + table;
    if (error.code() == ErrorCode::permission) return remedy + "; a new copy is tried by itself";
    return "a new copy is tried by itself";
}

Error refused_connection(Error error) {
    if (error.code() != ErrorCode::permission) return error;
    return Error(ErrorCode::unavailable, error.message()).with_sqlstate(error.sqlstate());
}

}  // namespace walbrook
