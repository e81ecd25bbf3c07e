#include "postgres/connection.h"
#include "walbrook/stores.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <optional>

namespace walbrook {
namespace {

// The bound of every call, connecting included.
constexpr std::chrono::seconds kCallTimeout(30);

// Each brings the schema from the version that is its index to the next one. Released
// ones never change. walbrook.migrations has a row for each that was applied.
constexpr auto kPostgresMigrations = std::to_array<const char*>({
    "create table walbrook.lineage(pipeline_id int8, destination text,"
    " system_identifier text not null, timeline int8 not null, database_oid int8 not null,"
    " slot text not null, primary key (pipeline_id, destination));"
    "create table walbrook.positions(pipeline_id int8, destination text,"
    " durable pg_lsn not null, confirm_bound pg_lsn not null,"
    " primary key (pipeline_id, destination));"
    "create table walbrook.tables(pipeline_id int8, destination text, table_oid int8,"
    " schema_name text not null, table_name text not null, phase text not null,"
    " paused bool not null, attempt int8 not null, position pg_lsn not null,"
    " reason text not null, remedy text not null, retries int8 not null,"
    " next_retry_unix_ms int8 not null, primary key (pipeline_id, destination, table_oid));"
    "create table walbrook.table_schemas(pipeline_id int8, destination text, table_oid int8,"
    " from_lsn pg_lsn, schema text not null,"
    " primary key (pipeline_id, destination, table_oid, from_lsn));",
    "alter table walbrook.tables add column membership text not null default '';",
    "alter table walbrook.tables add column content text not null default '';",
    // `durable` could be a position that was only confirmed, and programs of before go on to write
    // it beside this one.
    "alter table walbrook.lineage add column timeline_begin pg_lsn not null default '0/0';"
    "alter table walbrook.positions add column flushed pg_lsn not null default '0/0';",
});

// StoredPositions::durable. A lake knows by itself where it stands; what forgets has only this, and
// goes on from where a program of before was.
constexpr const char* kPostgresDurable =
    "case when p.destination = 'ducklake' then p.flushed else greatest(p.durable, p.flushed) end";

constexpr auto kKnownVersion = static_cast<std::int64_t>(kPostgresMigrations.size());
// "walbrook" as a number: keeps two processes from migrating at once.
constexpr std::int64_t kMigrationLock = 0x77616c62726f6f6b;

// The one character that no text of Postgres has.
std::string without_nul(std::string text) {
    std::replace(text.begin(), text.end(), '\0', ' ');
    return text;
}

// What the columns of walbrook.tables are called in the json of save_tables.
nlohmann::json to_record(const TableState& state) {
    return {{"table_oid", state.table.oid},
            {"schema_name", without_nul(state.schema)},
            {"table_name", without_nul(state.name)},
            {"phase", name_of(state.phase)},
            {"paused", state.paused},
            {"attempt", state.attempt},
            {"position", to_string(state.position)},
            {"reason", without_nul(state.reason)},
            {"remedy", without_nul(state.remedy)},
            {"retries", state.retries},
            {"next_retry_unix_ms", state.next_retry_unix_ms},
            {"membership", without_nul(state.membership)},
            {"content", without_nul(state.content)}};
}

Result<TableState> table_from(const Rows& rows, std::size_t row) {
    Fields fields(rows, row);
    TableState state;
    state.table.oid = fields.u32();
    state.schema = fields.text();
    state.name = fields.text();
    const std::string phase = fields.text();
    state.paused = fields.boolean();
    state.attempt = fields.u32();
    state.position = fields.lsn();
    state.reason = fields.text();
    state.remedy = fields.text();
    state.retries = fields.u32();
    state.next_retry_unix_ms = fields.i64();
    state.membership = fields.text();
    state.content = fields.text();
    WALBROOK_RETURN_IF_ERROR(fields.finish("read the state of a table"));
    const auto parsed = parse_table_phase(phase);
    if (!parsed) {
        return Error(ErrorCode::corrupt_state,
                     fmt::format("walbrook.tables holds the unknown phase {}", phase));
    }
    state.phase = *parsed;
    return state;
}

// Every call is one statement, so it is atomic without a transaction of ours, and may be
// repeated, so a lost session costs one reconnect and nothing else.
class PostgresStore final : public Store {
 public:
    explicit PostgresStore(PgConnectionConfig config) : config_(std::move(config)) {}

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
    Status connect();
    Result<std::int64_t> stored_version();
    Status apply_migrations();
    Status migrate();
    Status check_writable();
    Error with_grants(Error error);
    // Runs one statement whose first two parameters are the scope; once more on a new
    // session if this one was lost.
    template <class... Params>
    Result<Rows> run(const char* what, const std::string& sql, const Params&... params);

    PgConnectionConfig config_;
    StoreScope scope_;
    std::optional<Connection> connection_;
};

Status PostgresStore::connect() {
    if (connection_ && connection_->is_open()) return {};
    if (scope_.destination.empty() && scope_.pipeline_id == 0) {
        return Error(ErrorCode::internal, "the store was not opened");
    }
    connection_.reset();
    WALBROOK_TRY(Connection connection,
                 Connection::open(
                     config_, {.application_name = application_name(scope_.pipeline_id, "store")},
                     within(kCallTimeout)));
    connection_ = std::move(connection);
    return {};
}

template <class... Params>
Result<Rows> PostgresStore::run(const char* what, const std::string& sql, const Params&... params) {
    for (bool again = true;; again = false) {
        if (auto status = connect(); !status) return std::move(status).error().with_context(what);
        auto rows = connection_->query(within(kCallTimeout), sql,
                                       static_cast<std::int64_t>(scope_.pipeline_id),
                                       scope_.destination, params...);
        if (rows) return rows;
        if (connection_->is_open() || !again) return std::move(rows).error().with_context(what);
    }
}

// -1 where there is nothing yet; a newer one is refused. Reads only, so that a role without CREATE
// can open a store that an administrator has made.
Result<std::int64_t> PostgresStore::stored_version() {
    WALBROOK_TRY(const Rows exists,
                 connection_->query(within(kCallTimeout),
                                    "select to_regclass('walbrook.migrations') is not null"));
    Fields fields(exists, 0);
    const bool has_table = fields.boolean();
    WALBROOK_RETURN_IF_ERROR(fields.finish("look for walbrook.migrations"));
    if (!has_table) return std::int64_t{-1};
    WALBROOK_TRY(const Rows newest,
                 connection_->query(within(kCallTimeout),
                                    "select coalesce(max(version), 0) from walbrook.migrations"));
    Fields version(newest, 0);
    const std::int64_t found = version.i64();
    WALBROOK_RETURN_IF_ERROR(version.finish("read walbrook.migrations"));
    if (found <= kKnownVersion) return found;
    return Error(ErrorCode::corrupt_state,
                 fmt::format("the schema walbrook has format {}, this program knows {}; a newer "
                             "walbrook wrote it: use that one",
                             found, kKnownVersion));
}

Status PostgresStore::apply_migrations() {
    WALBROOK_RETURN_IF_ERROR(connection_->exec(
        within(kCallTimeout), fmt::format("select pg_advisory_xact_lock({})", kMigrationLock)));
    WALBROOK_TRY(const std::int64_t found, stored_version());  // Again, behind the lock.
    std::string sql;
    if (found < 0) {
        // Not "if not exists": that needs CREATE on the database although the schema is there.
        WALBROOK_TRY(
            const Rows schema,
            connection_->query(within(kCallTimeout), "select to_regnamespace('walbrook') is null"));
        if (schema.text(0, 0) == "t") sql = "create schema walbrook;";
        sql +=
            "create table walbrook.migrations(version int8 primary key,"
            " applied_at timestamptz not null default now());";
    }
    for (std::int64_t version = std::max<std::int64_t>(found, 0); version < kKnownVersion;
         ++version) {
        sql += kPostgresMigrations[static_cast<std::size_t>(version)];
        sql += fmt::format("insert into walbrook.migrations(version) values ({});", version + 1);
    }
    if (sql.empty()) return {};
    return connection_->exec(within(kCallTimeout), sql);
}

Status PostgresStore::migrate() {
    WALBROOK_TRY(const std::int64_t found, stored_version());
    if (found == kKnownVersion) return {};
    WALBROOK_RETURN_IF_ERROR(connection_->exec(within(kCallTimeout), "begin"));
    Status applied = apply_migrations();
    if (applied) return connection_->exec(within(kCallTimeout), "commit");
    connection_.reset();  // With it goes the transaction.
    return applied;
}

Status PostgresStore::check_writable() {
    WALBROOK_TRY(const Rows recovery,
                 connection_->query(within(kCallTimeout), "select pg_is_in_recovery()"));
    if (recovery.text(0, 0) != "t") return {};
    return Error(ErrorCode::config,
                 "the server is a standby, where nothing can be written; let "
                 "pipeline.store_pg_connection name a primary, or use pipeline.store.type: sqlite");
}

Status PostgresStore::open(const StoreScope& scope) {
    scope_ = scope;
    Status ready = connect();
    if (ready) ready = check_writable();
    if (ready) ready = migrate();
    if (ready) return {};
    connection_.reset();
    Error error = std::move(ready).error();
    if (error.sqlstate() == "42501") error = with_grants(std::move(error));
    return std::move(error).with_context("open the store in Postgres");
}

// What lets this role make the tables and use them, or those of another role.
Error PostgresStore::with_grants(Error error) {
    if (!connect()) return error;
    const auto asked = connection_->query(
        within(kCallTimeout),
        "select format('create schema if not exists walbrook; grant usage, create on schema "
        "walbrook to %1$I; grant select, insert, update, delete on all tables in schema walbrook "
        "to %1$I', current_user)");
    connection_.reset();
    if (!asked) return error;
    return Error(error.code(),
                 fmt::format("{}; as the database's owner: {}", error.message(), asked->text(0, 0)))
        .with_sqlstate(error.sqlstate());
}

Result<std::optional<Lineage>> PostgresStore::load_lineage() {
    WALBROOK_TRY(const Rows rows,
                 run("load the lineage",
                     "select system_identifier, timeline, database_oid, slot, timeline_begin"
                     " from walbrook.lineage where pipeline_id = $1 and destination = $2"));
    if (rows.empty()) return std::optional<Lineage>();
    Fields fields(rows, 0);
    Lineage lineage;
    lineage.system_identifier = fields.text();
    lineage.timeline = fields.u32();
    lineage.database_oid = fields.u32();
    lineage.slot = fields.text();
    lineage.timeline_begin = fields.lsn();
    WALBROOK_RETURN_IF_ERROR(fields.finish("load the lineage"));
    return std::optional(std::move(lineage));
}

Status PostgresStore::save_lineage(const Lineage& lineage, Lsn shared_until) {
    return run("save the lineage",
               "with p as (update walbrook.positions set"
               " durable = least(durable, $8), flushed = least(flushed, $8),"
               " confirm_bound = least(confirm_bound, $8)"
               " where pipeline_id = $1 and destination = $2)"
               " insert into walbrook.lineage values ($1, $2, $3, $4, $5, $6, $7)"
               " on conflict (pipeline_id, destination) do update set"
               " system_identifier = excluded.system_identifier, timeline = excluded.timeline,"
               " database_oid = excluded.database_oid, slot = excluded.slot,"
               " timeline_begin = excluded.timeline_begin",
               lineage.system_identifier, lineage.timeline, lineage.database_oid, lineage.slot,
               lineage.timeline_begin, shared_until)
        .status();
}

Result<std::vector<TableState>> PostgresStore::load_tables() {
    WALBROOK_TRY(const Rows rows,
                 run("load the tables",
                     "select table_oid, schema_name, table_name, phase, paused, attempt, position,"
                     " reason, remedy, retries, next_retry_unix_ms, membership, content"
                     " from walbrook.tables"
                     " where pipeline_id = $1 and destination = $2 order by table_oid"));
    std::vector<TableState> tables;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        WALBROOK_TRY(TableState state, table_from(rows, i));
        tables.push_back(std::move(state));
    }
    return tables;
}

Status PostgresStore::save_tables(std::span<const TableState> tables) {
    nlohmann::json records = nlohmann::json::array();
    for (const TableState& state : tables) records.push_back(to_record(state));
    return run("save the tables",
               "insert into walbrook.tables select $1::int8, $2, r.* from json_to_recordset($3) as"
               " r(table_oid int8, schema_name text, table_name text, phase text, paused bool,"
               " attempt int8, position pg_lsn, reason text, remedy text, retries int8,"
               " next_retry_unix_ms int8, membership text, content text)"
               " on conflict (pipeline_id, destination, table_oid) do update set"
               " schema_name = excluded.schema_name, table_name = excluded.table_name,"
               " phase = excluded.phase, paused = excluded.paused, attempt = excluded.attempt,"
               " position = excluded.position, reason = excluded.reason,"
               " remedy = excluded.remedy, retries = excluded.retries,"
               " next_retry_unix_ms = excluded.next_retry_unix_ms,"
               " membership = excluded.membership, content = excluded.content",
               records.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace))
        .status();
}

Status PostgresStore::remove_table(TableId table) {
    return run("remove a table",
               "with s as (delete from walbrook.table_schemas where pipeline_id = $1"
               " and destination = $2 and table_oid = $3)"
               " delete from walbrook.tables where pipeline_id = $1 and destination = $2"
               " and table_oid = $3",
               table.oid)
        .status();
}

Result<StoredPositions> PostgresStore::load_positions() {
    WALBROOK_TRY(
        const Rows rows,
        run("load the positions", fmt::format("select {}, p.confirm_bound from walbrook.positions p"
                                              " where p.pipeline_id = $1 and p.destination = $2",
                                              kPostgresDurable)));
    StoredPositions positions;
    if (rows.empty()) return positions;
    Fields fields(rows, 0);
    positions.durable = fields.lsn();
    positions.confirm_bound = fields.lsn();
    WALBROOK_RETURN_IF_ERROR(fields.finish("load the positions"));
    return positions;
}

Result<StoredPositions> PostgresStore::advance(const StoredPositions& to) {
    WALBROOK_TRY(
        const Rows rows,
        run("advance the positions",
            fmt::format("insert into walbrook.positions as p"
                        " (pipeline_id, destination, durable, confirm_bound, flushed)"
                        " values ($1, $2, '0/0', $4, $3)"
                        " on conflict (pipeline_id, destination) do update set"
                        " flushed = greatest(p.flushed, excluded.flushed),"
                        " confirm_bound = greatest(p.confirm_bound, excluded.confirm_bound)"
                        " returning {}, p.confirm_bound",
                        kPostgresDurable),
            to.durable, to.confirm_bound));
    Fields fields(rows, 0);
    StoredPositions stored;
    stored.durable = fields.lsn();
    stored.confirm_bound = fields.lsn();
    WALBROOK_RETURN_IF_ERROR(fields.finish("advance the positions"));
    return stored;
}

Status PostgresStore::put_schema(const TableSchema& schema, Lsn from) {
    return run("store a schema",
               "insert into walbrook.table_schemas values ($1, $2, $3, $4, $5)"
               " on conflict (pipeline_id, destination, table_oid, from_lsn)"
               " do update set schema = excluded.schema",
               schema.id.oid, from, to_json(schema))
        .status();
}

Result<TableSchemaPtr> PostgresStore::get_schema(TableId table, Lsn at) {
    WALBROOK_TRY(const Rows rows,
                 run("look up a schema",
                     "select schema from walbrook.table_schemas where pipeline_id = $1"
                     " and destination = $2 and table_oid = $3 and from_lsn <= $4"
                     " order by from_lsn desc limit 1",
                     table.oid, at));
    if (rows.empty()) return TableSchemaPtr();
    WALBROOK_TRY(TableSchema schema, table_schema_from_json(rows.text(0, 0)));
    return std::make_shared<const TableSchema>(std::move(schema));
}

Status PostgresStore::prune_schemas(TableId table, Lsn keep_from) {
    return run("prune schemas",
               "delete from walbrook.table_schemas where pipeline_id = $1 and destination = $2"
               " and table_oid = $3 and from_lsn < (select max(from_lsn) from"
               " walbrook.table_schemas where pipeline_id = $1 and destination = $2"
               " and table_oid = $3 and from_lsn <= $4)",
               table.oid, keep_from)
        .status();
}

Status PostgresStore::clear() {
    return run("clear the store",
               "with l as (delete from walbrook.lineage where pipeline_id = $1"
               "  and destination = $2), p as (delete from walbrook.positions"
               "  where pipeline_id = $1 and destination = $2), t as (delete from walbrook.tables"
               "  where pipeline_id = $1 and destination = $2)"
               " delete from walbrook.table_schemas where pipeline_id = $1 and destination = $2")
        .status();
}

}  // namespace

std::unique_ptr<Store> make_postgres_store(PgConnectionConfig connection) {
    return std::make_unique<PostgresStore>(std::move(connection));
}

}  // namespace walbrook
