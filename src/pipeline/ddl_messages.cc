#include "pipeline/ddl_messages.h"

#include "postgres/connection.h"

#include <charconv>

namespace walbrook {
namespace {

constexpr std::chrono::seconds kDdlDeadline{30};

// A change of a table changes those that inherit from it. An error here would end the user's
// statement: then nothing is told, and the catalog is asked as it is without triggers.
//
// The second, empty message is there for the order: the server sorts the changes of a
// transaction and its subtransactions (the block with the handler is one) by position, and gives a
// message that of its end, which is that of the next record (logicalmsg_decode in decode.c). Rows
// that follow at once would come before it.
constexpr const char* kSql = R"sql(create schema if not exists walbrook;
create or replace function walbrook.tell_of_ddl() returns event_trigger
language plpgsql set search_path = pg_catalog, pg_temp as $walbrook$
declare
    changed oid[];
    told text;
begin
    if tg_event = 'sql_drop' then
        select array_agg(d.objid) into changed from pg_event_trigger_dropped_objects() d
        where d.classid = 'pg_class'::regclass and d.objsubid > 0;
    else
        select array_agg(d.objid) into changed from pg_event_trigger_ddl_commands() d
        where d.classid = 'pg_class'::regclass;
    end if;
    with recursive tree(oid) as (
        select unnest(changed)
        union select i.inhrelid from tree t join pg_inherits i on i.inhparent = t.oid)
    select string_agg(c.oid || ':' || coalesce((
            select string_agg(a.attnum::text, ',' order by a.attnum) from pg_attribute a
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), ''), ';')
    into told
    from tree t join pg_class c on c.oid = t.oid
    where c.relkind in ('r', 'p') and c.relpersistence = 'p';
    if told is not null or tg_tag like '%PUBLICATION' then
        perform pg_logical_emit_message(true, 'walbrook', '1 ' || coalesce(told, ''));
        perform pg_logical_emit_message(true, 'walbrook', '');
    end if;
exception when others then
    raise warning 'walbrook.tell_of_ddl: %', sqlerrm;
end $walbrook$;
drop event trigger if exists walbrook_ddl;
create event trigger walbrook_ddl on ddl_command_end execute function walbrook.tell_of_ddl();
alter event trigger walbrook_ddl enable always;
drop event trigger if exists walbrook_drop;
create event trigger walbrook_drop on sql_drop execute function walbrook.tell_of_ddl();
alter event trigger walbrook_drop enable always;
)sql";

// The schema is kept: the store may have its tables in it.
constexpr const char* kRemovalSql = R"sql(drop event trigger if exists walbrook_ddl;
drop event trigger if exists walbrook_drop;
drop function if exists walbrook.tell_of_ddl();
)sql";

template <class Number>
bool take_number(std::string_view& text, Number& into) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
    if (error != std::errc()) return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
}

bool take(std::string_view& text, char expected) {
    if (!text.starts_with(expected)) return false;
    text.remove_prefix(1);
    return true;
}

}  // namespace

std::optional<DdlMessage> parse_ddl_message(std::string_view content) {
    DdlMessage message;
    if (!take(content, '1') || !take(content, ' ')) return std::nullopt;
    while (!content.empty()) {
        std::uint32_t oid = 0;
        if (!take_number(content, oid) || !take(content, ':')) return std::nullopt;
        std::set<std::int16_t>& columns = message.columns[oid];
        for (std::int16_t attnum = 0; take_number(content, attnum);) {
            columns.insert(attnum);
            if (!take(content, ',')) break;
        }
        if (!content.empty() && !take(content, ';')) return std::nullopt;
    }
    return message;
}

std::string ddl_triggers_sql() { return kSql; }
std::string ddl_triggers_removal_sql() { return kRemovalSql; }

Status set_ddl_triggers(const PipelineConfig& config, bool wanted) {
    Purpose purpose;
    purpose.application_name = application_name(config.id, "init");
    WALBROOK_TRY(Connection connection,
                 Connection::open(config.pg_connection, purpose, within(kDdlDeadline)));
    Status done = connection.exec(within(kDdlDeadline), wanted ? kSql : kRemovalSql);
    if (done || done.error().code() != ErrorCode::permission) return done;
    return Error(ErrorCode::permission,
                 done.error().message() +
                     "; event triggers need a superuser: run `walbrook init --print` as one, "
                     "through psql, or go on without them")
        .with_sqlstate(done.error().sqlstate());
}

}  // namespace walbrook
