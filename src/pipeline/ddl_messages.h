#pragma once

#include "walbrook/config.h"
#include "walbrook/result.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace walbrook {

// What the event triggers at the source tell with each change of a schema, in the stream, at its
// place between the rows: a transactional logical message with our prefix.
//
//     1 16400:1,2,5;16411:1,2
//
// the tables that may have changed, each with the attribute numbers of the columns that it has
// now. Without it names, types and the number of columns must do (schema_follow.h). The triggers
// need a superuser; nothing depends on them.
inline constexpr std::string_view kDdlMessagePrefix = "walbrook";

struct DdlMessage {
    std::map<std::uint32_t, std::set<std::int16_t>> columns;  // By the table's oid.
};
// Nothing for what is not such a message: anybody may write messages with any prefix.
std::optional<DdlMessage> parse_ddl_message(std::string_view content);

// Statements that make the function and the event triggers, again and again with one result; and
// those that remove them.
std::string ddl_triggers_sql();
std::string ddl_triggers_removal_sql();

// Runs them at the source. ErrorCode::permission with the remedy where the role may not.
Status set_ddl_triggers(const PipelineConfig& config, bool wanted);

}  // namespace walbrook
