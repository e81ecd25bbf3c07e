#include "postgres/writers.h"

#include "postgres/quote.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace walbrook {
namespace {

// pg_locks is read once (materialized): only so do its rows belong together. The
// top-level xid is the oldest that the virtual transaction holds.
constexpr const char* kWritersSql =
    "with l as materialized (select locktype, database, relation, mode, granted, pid,"
    "   virtualtransaction, transactionid from pg_locks)"
    " select w.virtualtransaction, coalesce(x.xid, p.transaction), coalesce(w.pid, 0),"
    "  coalesce(p.gid, ''), coalesce(a.application_name, ''),"
    "  coalesce(a.usename, p.owner, ''),"
    "  case when w.pid is null then 'prepared' else coalesce(a.state, '') end,"
    "  extract(epoch from clock_timestamp() - coalesce(a.xact_start, p.prepared))::int8"
    " from (select distinct virtualtransaction, pid from l where locktype = 'relation'"
    "   and granted and relation = any($1::oid[])"
    "   and database = (select oid from pg_database where datname = current_database())"
    "   and mode in ('RowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')) w"
    " left join lateral (select t.transactionid as xid from l t"
    "   where t.locktype = 'transactionid' and t.granted and t.mode = 'ExclusiveLock'"
    "   and t.virtualtransaction = w.virtualtransaction and t.pid is not distinct from w.pid"
    "   order by age(t.transactionid) desc limit 1) x on true"
    " left join pg_prepared_xacts p on w.pid is null and p.transaction = x.xid"
    " left join pg_stat_activity a on a.pid = w.pid"
    " where w.pid is distinct from pg_backend_pid()"
    "  and not exists (select from pg_stat_progress_vacuum v where v.pid = w.pid)"
    "  and not exists (select from pg_stat_progress_cluster f where f.pid = w.pid"
    "    and f.command = 'VACUUM FULL')"
    " order by 8 desc nulls last, 1";

// A session that is idle at any moment of this query has no COMMIT PREPARED under way that it had
// when it began. A walsender that sends a transaction has such a lock for as long as its client
// takes to read it: whoever has a permanent slot in use is at nothing else.
constexpr const char* kMayCommitPreparedSql =
    "with l as materialized (select locktype, granted, pid, virtualtransaction from pg_locks"
    "   where pid <> pg_backend_pid())"
    " select l.virtualtransaction, null, l.pid, '', coalesce(a.application_name, ''),"
    "  coalesce(a.usename, ''), 'perhaps in COMMIT PREPARED',"
    "  extract(epoch from clock_timestamp() - a.xact_start)::int8"
    " from l join pg_stat_activity a on a.pid = l.pid"
    " where l.locktype = 'virtualxid' and l.granted"
    "  and a.datid = (select oid from pg_database where datname = current_database())"
    "  and coalesce(a.state, '') not like 'idle%'"
    "  and not exists (select from l o where o.pid = l.pid and o.locktype <> 'virtualxid')"
    "  and not exists (select from pg_replication_slots s where s.active_pid = l.pid"
    "    and not s.temporary)"
    " order by 8 desc nulls last, 1";

std::string prepared_name(std::uint32_t xid) { return fmt::format("-1/{}", xid); }

Result<std::vector<Writer>> read_writers(const Rows& rows) {
    std::vector<Writer> writers;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        Writer writer;
        writer.virtual_transaction = fields.text();
        writer.xid = fields.u32_or_zero();
        writer.pid = fields.u32();
        writer.gid = fields.text();
        writer.application = fields.text();
        writer.user = fields.text();
        writer.state = fields.text();
        writer.age_secs = fields.i64_or_zero();
        WALBROOK_RETURN_IF_ERROR(fields.finish("read the writers of a table"));
        // A prepared transaction that ended between the two views has no gid any more.
        if (writer.pid == 0 && writer.gid.empty()) continue;
        // It shows the name it had before PREPARE, or after a restart of the server this one.
        if (writer.is_prepared()) writer.virtual_transaction = prepared_name(writer.xid);
        writers.push_back(std::move(writer));
    }
    return writers;
}

Result<std::vector<Writer>> query_writers(Connection& connection, const Deadline& deadline,
                                          std::span<const std::uint32_t> tables) {
    WALBROOK_TRY(const Rows rows, connection.query(deadline, kWritersSql, oid_array(tables)));
    return read_writers(rows);
}

// virtualtransaction → xid (0: none yet) of every transaction that runs now.
Result<std::map<std::string, std::uint32_t>> running_transactions(Connection& connection,
                                                                  const Deadline& deadline) {
    WALBROOK_TRY(
        const Rows rows,
        connection.query(deadline,
                         "with l as materialized (select virtualtransaction, locktype,"
                         "  transactionid, granted, mode from pg_locks where pid is not null)"
                         " select v.virtualtransaction, (select t.transactionid from l t"
                         "   where t.locktype = 'transactionid' and t.granted"
                         "   and t.mode = 'ExclusiveLock'"
                         "   and t.virtualtransaction = v.virtualtransaction"
                         "   order by age(t.transactionid) desc limit 1)"
                         " from (select distinct virtualtransaction from l) v"));
    std::map<std::string, std::uint32_t> running;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        const std::string name = fields.text();
        running[name] = fields.u32_or_zero();
        WALBROOK_RETURN_IF_ERROR(fields.finish("read the running transactions"));
    }
    return running;
}

struct Prepared {
    std::uint32_t xid = 0;
    std::string gid;
};

Result<std::vector<Prepared>> prepared_transactions(Connection& connection,
                                                    const Deadline& deadline) {
    WALBROOK_TRY(const Rows rows,
                 connection.query(deadline, "select transaction, gid from pg_prepared_xacts"));
    std::vector<Prepared> all;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        Prepared prepared;
        prepared.xid = fields.u32();
        prepared.gid = fields.text();
        WALBROOK_RETURN_IF_ERROR(fields.finish("read the prepared transactions"));
        all.push_back(std::move(prepared));
    }
    return all;
}

const Prepared* find_prepared(const std::vector<Prepared>& all, std::uint32_t xid) {
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const Prepared& one) { return one.xid == xid; });
    return found == all.end() ? nullptr : &*found;
}

void add_once(std::vector<Writer>& writers, const Writer& writer) {
    const bool known = std::any_of(writers.begin(), writers.end(), [&](const Writer& other) {
        return other.virtual_transaction == writer.virtual_transaction;
    });
    if (!known) writers.push_back(writer);
}

void add_as_prepared(std::vector<Writer>& writers, Writer writer, const Prepared& prepared) {
    writer.virtual_transaction = prepared_name(prepared.xid);
    writer.xid = prepared.xid;
    writer.pid = 0;
    writer.gid = prepared.gid;
    writer.state = "prepared";
    add_once(writers, writer);
}

}  // namespace

Result<std::vector<Writer>> list_writers(Connection& connection, const Deadline& deadline,
                                         std::span<const std::uint32_t> tables,
                                         PreparedTransactions prepared) {
    WALBROOK_TRY(auto writers, query_writers(connection, deadline, tables));
    if (prepared == PreparedTransactions::include) return writers;
    if (std::erase_if(writers, [](const Writer& one) { return one.is_prepared(); }) == 0) {
        return writers;
    }
    WALBROOK_TRY(const Rows rows, connection.query(deadline, kMayCommitPreparedSql));
    WALBROOK_TRY(const std::vector<Writer> sessions, read_writers(rows));
    for (const Writer& session : sessions) add_once(writers, session);
    return writers;
}

Result<std::vector<Writer>> still_writing(Connection& connection, const Deadline& deadline,
                                          std::span<const std::uint32_t> tables,
                                          PreparedTransactions prepared,
                                          const std::vector<Writer>& before) {
    // In this order: PREPARE TRANSACTION shows its prepared form before it gives the
    // session's locks away, so one of the two lists has it.
    WALBROOK_TRY(const auto running, running_transactions(connection, deadline));
    std::vector<Prepared> all_prepared;
    if (prepared == PreparedTransactions::include) {
        WALBROOK_TRY(all_prepared, prepared_transactions(connection, deadline));
    }
    std::vector<Writer> left;
    bool lost_without_xid = false;
    for (const Writer& writer : before) {
        const auto alive = running.find(writer.virtual_transaction);
        if (!writer.is_prepared() && alive != running.end()) {
            Writer same = writer;
            if (alive->second != 0) same.xid = alive->second;
            add_once(left, same);
        } else if (writer.xid == 0) {
            lost_without_xid = true;
        } else if (const Prepared* form = find_prepared(all_prepared, writer.xid)) {
            add_as_prepared(left, writer, *form);
        }
    }
    if (lost_without_xid && !all_prepared.empty()) {
        WALBROOK_TRY(const auto now_writing, query_writers(connection, deadline, tables));
        for (const Writer& writer : now_writing) {
            if (writer.is_prepared()) add_once(left, writer);
        }
    }
    return left;
}

std::string describe(const Writer& writer) {
    if (writer.is_prepared()) {
        return fmt::format("prepared transaction '{}' (user {}, {} s)", writer.gid, writer.user,
                           writer.age_secs);
    }
    return fmt::format("session {} ({}, user {}, {}, {} s)", writer.pid, writer.application,
                       writer.user, writer.state, writer.age_secs);
}

}  // namespace walbrook
