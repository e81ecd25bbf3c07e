#include "base/narrow.h"
#include "base/network_file_system.h"
#include "stores/sqlite_session.h"
#include "walbrook/stores.h"

#include <fmt/format.h>

#include <array>
#include <filesystem>

namespace walbrook {
namespace {

// Each brings the file from the version that is its index to the next one. Released
// ones never change. PRAGMA user_version holds how many have been applied. Positions are
// text of fixed width; pipeline ids keep their 64 bits in a signed integer.
constexpr auto kSqliteMigrations = std::to_array<const char*>({
    "create table lineage(pipeline_id integer not null, destination text not null,"
    " system_identifier text not null, timeline integer not null, database_oid integer not null,"
    " slot text not null, primary key (pipeline_id, destination)) without rowid;"
    "create table positions(pipeline_id integer not null, destination text not null,"
    " durable text not null, confirm_bound text not null,"
    " primary key (pipeline_id, destination)) without rowid;"
    "create table tables(pipeline_id integer not null, destination text not null,"
    " table_oid integer not null, schema_name text not null, table_name text not null,"
    " phase text not null, paused integer not null, attempt integer not null,"
    " position text not null, reason text not null, remedy text not null,"
    " retries integer not null, next_retry_unix_ms integer not null,"
    " primary key (pipeline_id, destination, table_oid)) without rowid;"
    "create table table_schemas(pipeline_id integer not null, destination text not null,"
    " table_oid integer not null, from_lsn text not null, schema text not null,"
    " primary key (pipeline_id, destination, table_oid, from_lsn)) without rowid;",
    "alter table tables add column membership text not null default ''",
    "alter table tables add column content text not null default ''",
    // `durable` could be a position that was only confirmed, and programs of before go on to write
    // it beside newer ones: without names of columns, so that `positions` has to stay as it is.
    "alter table lineage add column timeline_begin text not null default '00000000/00000000';"
    "create table flushes(pipeline_id integer not null, destination text not null,"
    " position text not null, primary key (pipeline_id, destination)) without rowid",
});

// A lake knows by itself where it stands; what forgets has only this, and goes on from where a
// program of before was.
constexpr const char* kSqlitePositions =
    "select case when p.destination = 'ducklake' then coalesce(f.position, '00000000/00000000')"
    " else max(p.durable, coalesce(f.position, '')) end, p.confirm_bound from positions p"
    " left join flushes f on f.pipeline_id = p.pipeline_id and f.destination = p.destination"
    " where p.pipeline_id = ? and p.destination = ?";

constexpr std::int64_t kApplicationId = 0x57'4c'42'4b;  // "WLBK": tells a file of ours.

class SqliteStore final : public Store {
 public:
    explicit SqliteStore(std::string path) : path_(std::move(path)) {}

    Status open(const StoreScope& scope) override;
    Result<std::optional<Lineage>> load_lineage() override;
    Status save_lineage(const Lineage& lineage, Lsn shared_until) override;
    Result<std::vector<TableState>> load_tables() override;
    Status save_tables(std::span<const TableState> tables) override;
    Status remove_table(TableId table) override;
    Result<StoredPositions> load_positions() override;
    Result<StoredPositions> advance(const StoredPositions& to) override;
    Status put_schema(const TableSchema& schema, Lsn from) override;
    Result<TableSchemaPtr> get_schema(TableId table, Lsn at) override;
    Status prune_schemas(TableId table, Lsn keep_from) override;
    Status clear() override;

 private:
    Result<std::int64_t> pragma(const char* sql);
    Status refuse_foreign_file();
    Status use_wal();
    Status migrate();
    // A statement whose first two parameters, the scope, are in place.
    SqliteStatement scoped(const std::string& sql);
    Status save_table(const TableState& state);
    // Every call but open() begins with it.
    Status check_open() const {
        if (session_) return {};
        return Error(ErrorCode::internal, "the store was not opened");
    }

    std::string path_;
    std::int64_t pipeline_id_ = 0;
    std::string destination_;
    std::optional<SqliteSession> session_;
};

Result<std::int64_t> SqliteStore::pragma(const char* sql) {
    SqliteStatement statement(*session_, sql);
    WALBROOK_TRY(const bool row, statement.next());
    return row ? statement.integer(0) : 0;
}

Status SqliteStore::refuse_foreign_file() {
    WALBROOK_TRY(const std::int64_t application, pragma("pragma application_id"));
    WALBROOK_TRY(const std::int64_t objects, pragma("select count(*) from sqlite_master"));
    if (application == kApplicationId || objects == 0) return {};
    return Error(
        ErrorCode::corrupt_state,
        fmt::format("{} is a database of another program; name another store.path", path_));
}

// With synchronous = full a commit is one fsync, and it survives a power failure.
Status SqliteStore::use_wal() {
    {
        SqliteStatement mode(*session_, "pragma journal_mode = wal");
        WALBROOK_TRY(const bool row, mode.next());
        if (!row || mode.text(0) != "wal") {
            return Error(
                ErrorCode::config,
                fmt::format("{} lies on a file system without SQLite's WAL mode (a network "
                            "file system?); name another store.path",
                            path_));
        }
    }
    return session_->exec("pragma synchronous = full");
}

Status SqliteStore::migrate() {
    // Within the transaction, so that two processes do not migrate at once.
    WALBROOK_TRY(SqliteTransaction transaction, SqliteTransaction::begin(*session_));
    WALBROOK_TRY(const std::int64_t found, pragma("pragma user_version"));
    const auto known = static_cast<std::int64_t>(kSqliteMigrations.size());
    if (found < 0 || found > known) {
        return Error(ErrorCode::corrupt_state,
                     fmt::format("{} has format {}, this program knows {}; a newer walbrook wrote "
                                 "it: use that one",
                                 path_, found, known));
    }
    for (std::int64_t version = found; version < known; ++version) {
        WALBROOK_RETURN_IF_ERROR(
            session_->exec(kSqliteMigrations[static_cast<std::size_t>(version)]));
    }
    WALBROOK_RETURN_IF_ERROR(session_->exec(fmt::format(
        "pragma application_id = {}; pragma user_version = {}", kApplicationId, known)));
    return transaction.commit();
}

Status SqliteStore::open(const StoreScope& scope) {
    pipeline_id_ = static_cast<std::int64_t>(scope.pipeline_id);
    destination_ = scope.destination;
    session_.reset();
    WALBROOK_TRY(SqliteSession session, SqliteSession::open(path_));
    session_ = std::move(session);
    const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
    Status ready = refuse_network_file_system("store.path", folder.empty() ? "." : folder.string());
    if (ready) ready = refuse_foreign_file();
    if (ready) ready = use_wal();
    if (ready) ready = migrate();
    if (ready) return {};
    session_.reset();
    return std::move(ready).error().with_context("open the store " + path_);
}

SqliteStatement SqliteStore::scoped(const std::string& sql) {
    SqliteStatement statement(*session_, sql.c_str());
    statement.add(pipeline_id_).add(std::string_view(destination_));
    return statement;
}

Result<std::optional<Lineage>> SqliteStore::load_lineage() {
    WALBROOK_RETURN_IF_ERROR(check_open());
    auto statement = scoped(
        "select system_identifier, timeline, database_oid, slot, timeline_begin from lineage"
        " where pipeline_id = ? and destination = ?");
    WALBROOK_TRY(const bool row, statement.next());
    if (!row) return std::optional<Lineage>();
    return std::optional(Lineage{statement.text(0), narrow<std::uint32_t>(statement.integer(1)),
                                 narrow<std::uint32_t>(statement.integer(2)), statement.text(3),
                                 statement.lsn(4)});
}

Status SqliteStore::save_lineage(const Lineage& lineage, Lsn shared_until) {
    WALBROOK_RETURN_IF_ERROR(check_open());
    WALBROOK_TRY(SqliteTransaction transaction, SqliteTransaction::begin(*session_));
    WALBROOK_RETURN_IF_ERROR(scoped("insert or replace into lineage values (?, ?, ?, ?, ?, ?, ?)")
                                 .add(std::string_view(lineage.system_identifier))
                                 .add(std::int64_t{lineage.timeline})
                                 .add(std::int64_t{lineage.database_oid})
                                 .add(std::string_view(lineage.slot))
                                 .add(lineage.timeline_begin)
                                 .done());
    for (const char* sql :
         {"update positions set durable = min(durable, ?3), confirm_bound = min(confirm_bound, ?3)"
          " where pipeline_id = ?1 and destination = ?2",
          "update flushes set position = min(position, ?3)"
          " where pipeline_id = ?1 and destination = ?2"}) {
        WALBROOK_RETURN_IF_ERROR(scoped(sql).add(shared_until).done());
    }
    return transaction.commit();
}

Result<std::vector<TableState>> SqliteStore::load_tables() {
    WALBROOK_RETURN_IF_ERROR(check_open());
    auto statement = scoped(
        "select table_oid, schema_name, table_name, phase, paused, attempt, position, reason,"
        " remedy, retries, next_retry_unix_ms, membership, content from tables"
        " where pipeline_id = ? and destination = ? order by table_oid");
    std::vector<TableState> tables;
    for (;;) {
        WALBROOK_TRY(const bool row, statement.next());
        if (!row) return tables;
        const auto phase = parse_table_phase(statement.text(3));
        if (!phase) {
            return Error(ErrorCode::corrupt_state,
                         fmt::format("{} holds the unknown phase {}", path_, statement.text(3)));
        }
        TableState state;
        state.table.oid = narrow<std::uint32_t>(statement.integer(0));
        state.schema = statement.text(1);
        state.name = statement.text(2);
        state.phase = *phase;
        state.paused = statement.integer(4) != 0;
        state.attempt = narrow<std::uint32_t>(statement.integer(5));
        state.position = statement.lsn(6);
        state.reason = statement.text(7);
        state.remedy = statement.text(8);
        state.retries = narrow<std::uint32_t>(statement.integer(9));
        state.next_retry_unix_ms = statement.integer(10);
        state.membership = statement.text(11);
        state.content = statement.text(12);
        tables.push_back(std::move(state));
    }
}

Status SqliteStore::save_table(const TableState& state) {
    return scoped(
               "insert or replace into tables values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
               "?)")
        .add(std::int64_t{state.table.oid})
        .add(std::string_view(state.schema))
        .add(std::string_view(state.name))
        .add(name_of(state.phase))
        .add(std::int64_t{state.paused})
        .add(std::int64_t{state.attempt})
        .add(state.position)
        .add(std::string_view(state.reason))
        .add(std::string_view(state.remedy))
        .add(std::int64_t{state.retries})
        .add(state.next_retry_unix_ms)
        .add(std::string_view(state.membership))
        .add(std::string_view(state.content))
        .done();
}

Status SqliteStore::save_tables(std::span<const TableState> tables) {
    WALBROOK_RETURN_IF_ERROR(check_open());
    WALBROOK_TRY(SqliteTransaction transaction, SqliteTransaction::begin(*session_));
    for (const TableState& state : tables) WALBROOK_RETURN_IF_ERROR(save_table(state));
    return transaction.commit();
}

Status SqliteStore::remove_table(TableId table) {
    WALBROOK_RETURN_IF_ERROR(check_open());
    WALBROOK_TRY(SqliteTransaction transaction, SqliteTransaction::begin(*session_));
    for (const char* sql :
         {"delete from tables where pipeline_id = ? and destination = ? and table_oid = ?",
          "delete from table_schemas where pipeline_id = ? and destination = ?"
          " and table_oid = ?"}) {
        WALBROOK_RETURN_IF_ERROR(scoped(sql).add(std::int64_t{table.oid}).done());
    }
    return transaction.commit();
}

Result<StoredPositions> SqliteStore::load_positions() {
    WALBROOK_RETURN_IF_ERROR(check_open());
    auto statement = scoped(kSqlitePositions);
    WALBROOK_TRY(const bool row, statement.next());
    if (!row) return StoredPositions();
    return StoredPositions{statement.lsn(0), statement.lsn(1)};
}

Result<StoredPositions> SqliteStore::advance(const StoredPositions& to) {
    WALBROOK_RETURN_IF_ERROR(check_open());
    WALBROOK_TRY(SqliteTransaction transaction, SqliteTransaction::begin(*session_));
    WALBROOK_RETURN_IF_ERROR(
        scoped("insert into positions values (?, ?, '00000000/00000000', ?)"
               " on conflict (pipeline_id, destination)"
               " do update set confirm_bound = max(confirm_bound, excluded.confirm_bound)")
            .add(to.confirm_bound)
            .done());
    WALBROOK_RETURN_IF_ERROR(scoped("insert into flushes values (?, ?, ?)"
                                    " on conflict (pipeline_id, destination)"
                                    " do update set position = max(position, excluded.position)")
                                 .add(to.durable)
                                 .done());
    WALBROOK_TRY(const StoredPositions stored, load_positions());
    WALBROOK_RETURN_IF_ERROR(transaction.commit());
    return stored;
}

Status SqliteStore::put_schema(const TableSchema& schema, Lsn from) {
    WALBROOK_RETURN_IF_ERROR(check_open());
    return scoped("insert or replace into table_schemas values (?, ?, ?, ?, ?)")
        .add(std::int64_t{schema.id.oid})
        .add(from)
        .add(std::string_view(to_json(schema)))
        .done();
}

Result<TableSchemaPtr> SqliteStore::get_schema(TableId table, Lsn at) {
    WALBROOK_RETURN_IF_ERROR(check_open());
    auto statement = scoped(
        "select schema from table_schemas where pipeline_id = ? and destination = ?"
        " and table_oid = ? and from_lsn <= ? order by from_lsn desc limit 1");
    statement.add(std::int64_t{table.oid}).add(at);
    WALBROOK_TRY(const bool row, statement.next());
    if (!row) return TableSchemaPtr();
    WALBROOK_TRY(TableSchema schema, table_schema_from_json(statement.text(0)));
    return std::make_shared<const TableSchema>(std::move(schema));
}

Status SqliteStore::prune_schemas(TableId table, Lsn keep_from) {
    WALBROOK_RETURN_IF_ERROR(check_open());
    return scoped(
               "delete from table_schemas where pipeline_id = ?1 and destination = ?2"
               " and table_oid = ?3 and from_lsn < (select max(from_lsn) from table_schemas"
               " where pipeline_id = ?1 and destination = ?2 and table_oid = ?3"
               " and from_lsn <= ?4)")
        .add(std::int64_t{table.oid})
        .add(keep_from)
        .done();
}

Status SqliteStore::clear() {
    WALBROOK_RETURN_IF_ERROR(check_open());
    WALBROOK_TRY(SqliteTransaction transaction, SqliteTransaction::begin(*session_));
    for (const char* sql :
         {"delete from lineage where pipeline_id = ? and destination = ?",
          "delete from positions where pipeline_id = ? and destination = ?",
          "delete from flushes where pipeline_id = ? and destination = ?",
          "delete from tables where pipeline_id = ? and destination = ?",
          "delete from table_schemas where pipeline_id = ? and destination = ?"}) {
        WALBROOK_RETURN_IF_ERROR(scoped(sql).done());
    }
    return transaction.commit();
}

}  // namespace

std::unique_ptr<Store> make_sqlite_store(std::string path) {
    return std::make_unique<SqliteStore>(std::move(path));
}

}  // namespace walbrook
