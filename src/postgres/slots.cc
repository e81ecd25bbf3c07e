#include "postgres/slots.h"

#include "postgres/quote.h"

#include <fmt/format.h>

#include <charconv>

namespace walbrook {
namespace {

// A key of its own for each pipeline: FNV-1a over "walbrook:<id>", as the signed number
// that pg_try_advisory_lock takes.
std::int64_t lease_key(std::uint64_t pipeline_id) {
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : fmt::format("walbrook:{}", pipeline_id)) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    }
    return static_cast<std::int64_t>(hash);
}

// Keywords in capitals: before 15 the replication grammar knows no others.
Result<Rows> create_slot(Connection& connection, const Deadline& deadline, const std::string& name,
                         bool exporting, bool failover) {
    const std::string_view option =
        failover && connection.major_version() >= 17 ? "(SNAPSHOT 'nothing', FAILOVER true)"
        : connection.major_version() >= 15
            ? (exporting ? "(SNAPSHOT 'export')" : "(SNAPSHOT 'nothing')")
            : (exporting ? "EXPORT_SNAPSHOT" : "NOEXPORT_SNAPSHOT");
    auto rows = connection.query(
        deadline, fmt::format("CREATE_REPLICATION_SLOT {}{} LOGICAL pgoutput {}",
                              quote_identifier(name), exporting ? " TEMPORARY" : "", option));
    const std::string what = fmt::format("create replication slot {}", name);
    if (!rows) {
        Error error = std::move(rows).error();
        if (error.sqlstate() == "42710") {
            error = Error(ErrorCode::conflict, error.message()).with_sqlstate("42710");
        }
        return std::move(error).with_context(what);
    }
    if (rows->size() != 1 || rows->columns() != 4) {
        return Error(ErrorCode::internal, what + ": the server's answer has another shape");
    }
    return rows;
}

Result<Lsn> lsn_at(const Rows& rows, std::size_t column) {
    const auto lsn = parse_lsn(rows.text(0, column));
    if (!lsn) return Error(ErrorCode::internal, "the server's answer holds no WAL position");
    return *lsn;
}

}  // namespace

Result<std::optional<Slot>> read_slot(Connection& connection, const Deadline& deadline,
                                      const std::string& name) {
    const std::string sql = fmt::format(
        "select slot_name, plugin, database, temporary, active, active_pid, restart_lsn,"
        " confirmed_flush_lsn, wal_status, {} from pg_replication_slots where slot_name = $1",
        connection.major_version() >= 17 ? "invalidation_reason, failover" : "null, false");
    WALBROOK_TRY(const Rows rows, connection.query(deadline, sql, name));
    if (rows.empty()) return std::optional<Slot>();
    Fields fields(rows, 0);
    Slot slot;
    slot.name = fields.text();
    slot.plugin = fields.text_or_empty();  // Physical slots have none.
    slot.database = fields.text_or_empty();
    slot.temporary = fields.boolean();
    slot.active = fields.boolean();
    slot.active_pid = fields.u32_or_zero();
    slot.restart_lsn = fields.lsn_or_zero();
    slot.confirmed_flush = fields.lsn_or_zero();
    slot.wal_status = fields.text_or_empty();
    slot.invalidation_reason = fields.text_or_empty();
    slot.failover = fields.boolean();
    WALBROOK_RETURN_IF_ERROR(fields.finish("read the replication slot"));
    return std::optional(std::move(slot));
}

Result<Lsn> create_permanent_slot(Connection& connection, const Deadline& deadline,
                                  const std::string& name, bool failover) {
    WALBROOK_TRY(const Rows rows,
                 create_slot(connection, deadline, name, /*exporting=*/false, failover));
    return lsn_at(rows, 1);
}

Status set_slot_failover(Connection& connection, const Deadline& deadline, const std::string& name,
                         bool failover) {
    auto altered = connection.query(deadline, fmt::format("ALTER_REPLICATION_SLOT {} (FAILOVER {})",
                                                          quote_identifier(name), failover));
    if (altered) return {};
    return std::move(altered).error().with_context(
        fmt::format("set FAILOVER of replication slot {}", name));
}

Result<ExportingSlot> create_exporting_slot(Connection& connection, const Deadline& deadline,
                                            const std::string& name) {
    WALBROOK_TRY(const Rows rows, create_slot(connection, deadline, name, /*exporting=*/true,
                                              /*failover=*/false));
    WALBROOK_TRY(const Lsn consistent_point, lsn_at(rows, 1));
    return ExportingSlot{consistent_point, std::string(rows.text(0, 2))};
}

Status drop_slot(Connection& connection, const Deadline& deadline, const std::string& name) {
    auto dropped = connection.query(deadline, "select pg_drop_replication_slot($1)", name);
    if (dropped || dropped.error().sqlstate() == "42704") return {};
    return std::move(dropped).error().with_context(fmt::format("drop replication slot {}", name));
}

Result<std::vector<XidHolder>> read_xid_holders(Connection& connection, const Deadline& deadline) {
    WALBROOK_TRY(
        const Rows rows,
        connection.query(
            deadline,
            "select xid, pid, gid, application, owner, database, state, age, age is null from ("
            " select a.pid, '' as gid, a.application_name as application, a.usename as owner,"
            "  a.datname as database, a.state, a.backend_xid as xid,"
            "  extract(epoch from clock_timestamp() - a.xact_start)::int8 as age"
            " from pg_stat_activity a where a.backend_xid is not null"
            "  and a.pid <> pg_backend_pid()"
            " union all select 0, p.gid, '', p.owner, p.database, 'prepared', p.transaction,"
            "  extract(epoch from clock_timestamp() - p.prepared)::int8 from pg_prepared_xacts p"
            ") holders order by age(xid) desc"));
    std::vector<XidHolder> holders;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        XidHolder holder;
        holder.xid = fields.u32();
        holder.pid = fields.u32();
        holder.gid = fields.text();
        holder.application = fields.text_or_empty();
        holder.user = fields.text_or_empty();
        holder.database = fields.text_or_empty();
        holder.state = fields.text_or_empty();
        holder.age_secs = fields.i64_or_zero();
        holder.is_hidden = fields.boolean();
        WALBROOK_RETURN_IF_ERROR(fields.finish("read the transactions with an xid"));
        holders.push_back(std::move(holder));
    }
    return holders;
}

std::string describe(const XidHolder& holder) {
    if (holder.pid == 0) {
        return fmt::format("prepared transaction '{}' (user {}, database {}, {} s)", holder.gid,
                           holder.user, holder.database, holder.age_secs);
    }
    if (holder.is_hidden) {
        return fmt::format("session {} (user {}, database {}, {} s or more)", holder.pid,
                           holder.user, holder.database, holder.age_secs);
    }
    return fmt::format("session {} ({}, user {}, database {}, {}, {} s)", holder.pid,
                       holder.application, holder.user, holder.database, holder.state,
                       holder.age_secs);
}

std::optional<XidHolder> OpenTransactions::not_younger_than(std::chrono::seconds age,
                                                            const std::vector<XidHolder>& found,
                                                            Instant at) {
    std::optional<XidHolder> old;
    decltype(seen_) seen;
    for (const XidHolder& holder : found) {
        std::chrono::seconds known(holder.age_secs);
        bool is_old = known >= age;
        if (holder.is_hidden) {
            const std::pair key(holder.pid, holder.xid);
            const auto before = seen_.find(key);
            const Seen& times = seen[key] =
                before == seen_.end() ? Seen{at, looked_at_} : before->second;
            known = std::chrono::duration_cast<std::chrono::seconds>(at - times.first);
            is_old = !times.missing || at - *times.missing >= age;
        }
        if (!is_old || old) continue;
        old = holder;
        old->age_secs = known.count();
    }
    seen_ = std::move(seen);
    looked_at_ = at;
    return old;
}

Result<SystemIdentity> identify_system(Connection& connection, const Deadline& deadline) {
    WALBROOK_TRY(const Rows rows, connection.query(deadline, "IDENTIFY_SYSTEM"));
    Fields fields(rows, 0);
    SystemIdentity identity;
    identity.system_identifier = fields.text();
    identity.timeline = fields.u32();
    identity.position = fields.lsn();
    identity.database = fields.text();
    WALBROOK_RETURN_IF_ERROR(fields.finish("IDENTIFY_SYSTEM"));
    WALBROOK_TRY(const Rows oid,
                 connection.query(deadline,
                                  "select oid from pg_catalog.pg_database"
                                  " where datname = pg_catalog.current_database()"));
    Fields oid_fields(oid, 0);
    identity.database_oid = oid_fields.u32();
    WALBROOK_RETURN_IF_ERROR(oid_fields.finish("read the oid of the database"));
    return identity;
}

Result<std::vector<TimelineSwitch>> read_timeline_history(Connection& connection,
                                                          const Deadline& deadline,
                                                          std::uint32_t timeline) {
    std::vector<TimelineSwitch> switches;
    if (timeline <= 1) return switches;  // The first has no history file.
    WALBROOK_TRY(const Rows rows,
                 connection.query(deadline, fmt::format("TIMELINE_HISTORY {}", timeline)));
    if (rows.size() != 1 || rows.columns() != 2) {
        return Error(ErrorCode::internal, "TIMELINE_HISTORY: the answer has another shape");
    }
    // Lines "<timeline>\t<switch point>\t<reason>"; '#' begins a comment (timeline.c).
    std::string_view content = rows.text(0, 1);
    while (!content.empty()) {
        const std::size_t end = std::min(content.find('\n'), content.size());
        std::string_view line = content.substr(0, end);
        content.remove_prefix(std::min(end + 1, content.size()));
        line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
        if (line.empty() || line.front() == '#') continue;
        TimelineSwitch entry;
        const auto [stop, error] =
            std::from_chars(line.data(), line.data() + line.size(), entry.timeline);
        line.remove_prefix(static_cast<std::size_t>(stop - line.data()));
        line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
        const auto lsn = parse_lsn(line.substr(0, line.find_first_of(" \t")));
        if (error != std::errc() || !lsn) {
            return Error(ErrorCode::internal, "TIMELINE_HISTORY: a line cannot be read");
        }
        entry.switch_point = *lsn;
        switches.push_back(entry);
    }
    return switches;
}

Result<Lsn> read_timeline_begin(Connection& connection, const Deadline& deadline,
                                std::uint32_t timeline) {
    const auto history = read_timeline_history(connection, deadline, timeline);
    // The file is gone (undefined_file): nobody keeps one from removing it.
    if (!history && history.error().sqlstate() == "58P01") return Lsn{};
    if (!history) return history.error();
    return history->empty() ? Lsn{} : history->back().switch_point;
}

Result<bool> is_in_recovery(Connection& connection, const Deadline& deadline) {
    WALBROOK_TRY(const Rows rows, connection.query(deadline, "select pg_is_in_recovery()"));
    return rows.text(0, 0) == "t";
}

Result<ServerState> read_server_state(Connection& connection, const Deadline& deadline) {
    WALBROOK_TRY(const Rows rows,
                 connection.query(
                     deadline,
                     "select pg_is_in_recovery(), current_setting('hot_standby_feedback')::bool,"
                     " current_setting('wal_level'),"
                     " (select s.setting::int8 * case s.unit when 's' then 1000 else 1 end"
                     "   from pg_settings s where s.name = 'wal_sender_timeout'),"
                     " current_setting('max_replication_slots')::int8,"
                     " current_setting('max_wal_senders')::int8"));
    Fields fields(rows, 0);
    ServerState state;
    state.version = connection.server_version();
    state.in_recovery = fields.boolean();
    state.hot_standby_feedback = fields.boolean();
    state.wal_level = fields.text();
    state.wal_sender_timeout = std::chrono::milliseconds(fields.i64());
    state.max_replication_slots = fields.i64();
    state.max_wal_senders = fields.i64();
    WALBROOK_RETURN_IF_ERROR(fields.finish("read the server's state"));
    return state;
}

Result<WalPositions> read_wal_positions(Connection& connection, const Deadline& deadline) {
    WALBROOK_TRY(
        const Rows rows,
        connection.query(deadline,
                         "select i, case when r then l else pg_current_wal_insert_lsn() end,"
                         " case when r then l else pg_current_wal_lsn() end,"
                         " case when r then l else pg_current_wal_flush_lsn() end from"
                         " (select 1 as i, pg_is_in_recovery() as r,"
                         "  pg_last_wal_replay_lsn() as l offset 0) s"));
    Fields fields(rows, 0);
    fields.i32();
    WalPositions positions;
    positions.insert = fields.lsn_or_zero();
    positions.write = fields.lsn_or_zero();
    positions.flush = fields.lsn_or_zero();
    WALBROOK_RETURN_IF_ERROR(fields.finish("read WAL positions"));
    return positions;
}

Lsn before_page_header(Lsn position) {
    constexpr std::uint64_t kPage = 8192;
    constexpr std::uint64_t kSegmentMin = 1 << 20;
    constexpr std::uint64_t kShortHeader = 24;
    constexpr std::uint64_t kLongHeader = 40;
    const std::uint64_t offset = position.value % kPage;
    const bool may_begin_segment = (position.value - offset) % kSegmentMin == 0;
    // Between and behind them is the end of a record that began on the page before.
    const bool is_behind_header =
        offset == kShortHeader || (offset == kLongHeader && may_begin_segment);
    return is_behind_header ? Lsn{position.value - offset} : position;
}

Result<bool> try_lease(Connection& connection, const Deadline& deadline,
                       std::uint64_t pipeline_id) {
    WALBROOK_TRY(const Rows rows,
                 connection.query(deadline, "select pg_try_advisory_lock($1::int8)",
                                  lease_key(pipeline_id)));
    Fields fields(rows, 0);
    const bool taken = fields.boolean();
    WALBROOK_RETURN_IF_ERROR(fields.finish("take the pipeline's lease"));
    return taken;
}

Result<std::optional<LeaseHolder>> lease_holder(Connection& connection, const Deadline& deadline,
                                                std::uint64_t pipeline_id) {
    WALBROOK_TRY(
        const Rows rows,
        connection.query(
            deadline,
            "select l.pid, coalesce(a.application_name, '') from pg_locks l"
            " left join pg_stat_activity a on a.pid = l.pid"
            " where l.locktype = 'advisory' and l.granted and l.objsubid = 1 and l.database ="
            " (select oid from pg_database where datname = current_database())"
            " and (l.classid::int8 << 32 | l.objid::int8) = $1::int8 limit 1",
            lease_key(pipeline_id)));
    if (rows.empty()) return std::optional<LeaseHolder>();
    Fields fields(rows, 0);
    LeaseHolder holder;
    holder.pid = fields.u32();
    holder.application = fields.text();
    WALBROOK_RETURN_IF_ERROR(fields.finish("read who has the pipeline's lease"));
    return std::optional(std::move(holder));
}

std::string describe(const LeaseHolder& holder) {
    return fmt::format("session {} ({})", holder.pid, holder.application);
}

}  // namespace walbrook
