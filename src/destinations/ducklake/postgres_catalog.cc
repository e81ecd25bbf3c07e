#include "destinations/ducklake/postgres_catalog.h"

#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/lake.h"

#include <fmt/format.h>

#include <random>
#include <string>

namespace walbrook::ducklake {

using duckdb_engine::Connection;
using duckdb_engine::quote_literal;

namespace {

// Of two processes that begin at once one waits, as does whoever begins during a commit: the
// trigger holds the row until then. DuckLake keeps its tables in `public` unless told
// otherwise. Statistics: see kTriggers in catalog.cc.
constexpr const char* kTakeEpoch = R"sql(
set local client_min_messages = warning;
set local lock_timeout = '10s';
set local idle_in_transaction_session_timeout = '60s';
select pg_advisory_xact_lock(hashtext('walbrook_fence'));
create table if not exists public.walbrook_fence(
    id int primary key check (id = 1), epoch bigint not null);
create or replace function public.walbrook_check_epoch() returns trigger language plpgsql as $$
declare
    newest bigint;
begin
    if new.author is distinct from 'walbrook' then
        return new;
    end if;
    select epoch into newest from public.walbrook_fence where id = 1 for share;
    if newest is distinct from (new.commit_extra_info::json ->> 'epoch')::bigint then
        raise exception 'walbrook: another process writes to this lake by now'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    -- Nothing but COMMIT is to come. Of a client that is gone without a word it never does, and
    -- whoever begins next waits for the row.
    perform set_config('idle_in_transaction_session_timeout', '60000', true);
    return new;
end $$;
create or replace function public.walbrook_forget_stats() returns trigger language plpgsql as $$
begin
    delete from public.ducklake_file_column_stats where data_file_id = new.data_file_id;
    return null;
end $$;
create or replace function public.walbrook_forget_bounds() returns trigger language plpgsql as $$
begin
    new.min_value := null;
    new.max_value := null;
    new.contains_null := true;
    new.contains_nan := null;
    return new;
end $$;
do $$
begin
    -- Only what is missing: each of these waits for transactions of others on its table.
    if not exists (select from pg_trigger where tgname = 'walbrook_check_epoch'
                   and tgrelid = 'public.ducklake_snapshot_changes'::regclass) then
        create trigger walbrook_check_epoch before insert on public.ducklake_snapshot_changes
            for each row execute function public.walbrook_check_epoch();
    end if;
    if not exists (select from pg_trigger where tgname = 'walbrook_forget_stats'
                   and tgrelid = 'public.ducklake_data_file'::regclass) then
        create trigger walbrook_forget_stats after update of end_snapshot
            on public.ducklake_data_file for each row when (new.end_snapshot is not null)
            execute function public.walbrook_forget_stats();
    end if;
    if not exists (select from pg_trigger where tgname = 'walbrook_forget_bounds'
                   and tgrelid = 'public.ducklake_table_column_stats'::regclass) then
        create trigger walbrook_forget_bounds before insert or update
            on public.ducklake_table_column_stats for each row
            execute function public.walbrook_forget_bounds();
        update public.ducklake_table_column_stats set min_value = null;
    end if;
    if to_regclass('public.walbrook_file_stats') is null then
        create index walbrook_file_stats on public.ducklake_file_column_stats(data_file_id);
    end if;
end $$;
insert into public.walbrook_fence values (1, 1)
    on conflict (id) do update set epoch = walbrook_fence.epoch + 1;
)sql";

// Waits for a commit that holds the row, as kTakeEpoch does.
constexpr const char* kRenewEpoch = R"sql(
set local lock_timeout = '5s';
set local idle_in_transaction_session_timeout = '60s';
update public.walbrook_fence set epoch = {1} where id = 1 and epoch in ({0}, {1});
)sql";

Result<std::int64_t> execute(Connection& session, const std::string& sql) {
    WALBROOK_RETURN_IF_ERROR(session.run(
        fmt::format("CALL postgres_execute('{}', {})", Lake::metadata(), quote_literal(sql))));
    return newest_epoch(session);
}

// In a transaction. Returns the newest epoch as of then.
Result<std::int64_t> transact(Connection& session, const std::string& sql) {
    WALBROOK_RETURN_IF_ERROR(session.run("BEGIN"));
    Result<std::int64_t> epoch = execute(session, sql);
    if (epoch) {
        if (Status status = session.run("COMMIT"); !status) epoch = std::move(status).error();
    } else {
        session.run("ROLLBACK").ignore();
    }
    return epoch;
}

}  // namespace

Result<std::int64_t> newest_epoch(Connection& session) {
    WALBROOK_TRY(const auto rows,
                 session.query(fmt::format("SELECT epoch FROM postgres_query('{}', 'select epoch "
                                           "from public.walbrook_fence where id = 1')",
                                           Lake::metadata())));
    const auto epoch = rows.rows() == 1 ? rows.number(0, 0) : std::nullopt;
    if (!epoch) return Error(ErrorCode::corrupt_state, "walbrook_fence has not one row");
    return *epoch;
}

Result<std::int64_t> take_epoch(Connection& session) {
    Result<std::int64_t> epoch = transact(session, kTakeEpoch);
    if (!epoch) return Error(epoch.error()).with_context("fence the lake's catalog");
    return epoch;
}

Status renew_epoch(Connection& session, std::int64_t held, std::int64_t next) {
    const Result<std::int64_t> newest = transact(session, fmt::format(kRenewEpoch, held, next));
    if (!newest) {
        const bool is_lost = newest.error().code() == ErrorCode::corrupt_state;
        return Error(
            is_lost ? ErrorCode::corrupt_state : ErrorCode::unavailable,
            "wait for the end of an earlier commit to the lake: " + newest.error().message());
    }
    if (*newest == next) return {};
    return overtaken();
}

std::int64_t later_epoch(std::int64_t held) {
    // Those who begin take the next one.
    constexpr std::int64_t kOthersMax = 1'000;
    constexpr unsigned kChoices = 1'000'000;
    return held + kOthersMax + std::random_device{}() % kChoices;
}

Error overtaken() {
    return {ErrorCode::fenced,
            "another process writes to this lake by now: it began after this one"};
}

}  // namespace walbrook::ducklake
