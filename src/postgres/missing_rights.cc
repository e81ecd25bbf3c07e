#include "postgres/missing_rights.h"

#include "postgres/quote.h"
#include "postgres/rows.h"

namespace walbrook {
namespace {

// LOCK TABLE wants SELECT on the whole table, also where only some columns are published.
constexpr const char* kSql =
    "with t as (select c.oid, c.relname, n.oid as schema, n.nspname from pg_class c"
    "  join pg_namespace n on n.oid = c.relnamespace where c.oid = any($1::oid[])),"
    " s(place, statement) as ("
    " select distinct 1, format('grant usage on schema %I to %I', nspname, current_user) from t"
    "  where not has_schema_privilege(schema, 'usage')"
    " union all select 2, format('grant select on table %I.%I to %I', nspname, relname,"
    "  current_user) from t where not has_table_privilege(oid, 'select')"
    " union all select 3, format('alter role %I bypassrls', current_user) where exists ("
    "  select from t where row_security_active(oid)))"
    " select coalesce(string_agg(statement, '; ' order by place, statement), '') from s";

}  // namespace

Result<std::string> missing_rights(Connection& connection, const Deadline& deadline,
                                   std::span<const std::uint32_t> tables) {
    WALBROOK_TRY(const Rows rows, connection.query(deadline, kSql, oid_array(tables)));
    Fields fields(rows, 0);
    std::string statements = fields.text();
    WALBROOK_RETURN_IF_ERROR(fields.finish("read what the role may not do"));
    return statements;
}

}  // namespace walbrook
