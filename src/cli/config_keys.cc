#include "cli/config_keys.h"

#include "base/check.h"
#include "postgres/shown_connection.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace walbrook {
namespace {

constexpr std::uint64_t kDayMs = 86'400'000;

template <class T, class Access>
Place place(Access access) {
    return PlaceOf<T>([access](ProgramConfig& c) -> T& { return access(c); });
}

// An enum whose values are 0, 1, 2, … in the order of Key::choices.
template <class Access>
Place choice(Access access) {
    return ChoicePlace{[access](ProgramConfig& c, std::size_t index) {
                           access(c) =
                               static_cast<std::remove_reference_t<decltype(access(c))>>(index);
                       },
                       [access](ProgramConfig& c) { return static_cast<std::size_t>(access(c)); }};
}

// tls.mode is text in the struct, because it is libpq's own word.
template <class Access>
Place text_choice(Access access, const std::vector<std::string_view>& choices) {
    return ChoicePlace{
        [access, choices](ProgramConfig& c, std::size_t index) { access(c) = choices[index]; },
        [access, choices](ProgramConfig& c) {
            const auto at = std::find(choices.begin(), choices.end(), access(c));
            return static_cast<std::size_t>(at - choices.begin());
        }};
}

template <class Access>
std::vector<Key> address_keys(Access at) {
    return {
        {.name = "url",
         .place = place<std::string>([at](auto& c) -> auto& { return at(c).url; }),
         .doc = "Where the database is, in one text; or give host, name and username. A key "
                "beside it wins over the part of the url.",
         .example = "\"postgres://walbrook@db.example:5432/shop\"",
         .secrecy = Secrecy::inside},
        {.name = "host",
         .place = place<std::string>([at](auto& c) -> auto& { return at(c).host; }),
         .doc = "Host name, address, or the folder of a Unix socket.",
         .example = "db.example"},
        {.name = "port",
         .place = place<std::uint16_t>([at](auto& c) -> auto& { return at(c).port; }),
         .doc = "TCP port.",
         .example = "5432",
         .fallback = "5432",
         .min = 1,
         .max = 65535},
        {.name = "name",
         .place = place<std::string>([at](auto& c) -> auto& { return at(c).name; }),
         .doc = "The database.",
         .example = "shop"},
        {.name = "username",
         .place = place<std::string>([at](auto& c) -> auto& { return at(c).username; }),
         .doc = "The role to connect as.",
         .example = "walbrook"},
        {.name = "password",
         .place = place<std::string>([at](auto& c) -> auto& { return at(c).password; }),
         .doc = "Its password. Better from a file (`password_file`) or a variable.",
         .example = "\"${PGPASSWORD}\"",
         .secrecy = Secrecy::whole},
    };
}

template <class Access>
std::vector<Key> transport_keys(Access at) {
    const std::vector<std::string_view> modes = {"disable", "allow",     "prefer",
                                                 "require", "verify-ca", "verify-full"};
    return {
        {.name = "tls.mode",
         .place = text_choice([at](auto& c) -> auto& { return at(c).tls.mode; }, modes),
         .doc = "Whether the connection is encrypted and the server's certificate checked, as "
                "libpq's sslmode: prefer, allow and require (without trusted_root_certs) check "
                "nothing.",
         .example = "verify-full",
         .fallback = "prefer; verify-full beside certificates",
         .choices = modes},
        {.name = "tls.trusted_root_certs",
         .place =
             place<std::string>([at](auto& c) -> auto& { return at(c).tls.trusted_root_certs; }),
         .doc = "Certificates to trust, as PEM text or a path.",
         .example = "root.crt",
         .fallback = "root.crt of libpq",
         .path_rule = PathRule::path_or_pem},
        {.name = "tls.client_cert",
         .place = place<std::string>([at](auto& c) -> auto& { return at(c).tls.client_cert; }),
         .doc = "Our certificate, as PEM text or a path; needs client_key.",
         .example = "client.crt",
         .path_rule = PathRule::path_or_pem},
        {.name = "tls.client_key",
         .place = place<std::string>([at](auto& c) -> auto& { return at(c).tls.client_key; }),
         .doc = "Its private key, as PEM text or a path.",
         .example = "client.key",
         .path_rule = PathRule::path_or_pem,
         .secrecy = Secrecy::inside},
        {.name = "keepalive.idle_secs",
         .place =
             place<std::uint32_t>([at](auto& c) -> auto& { return at(c).keepalive.idle_secs; }),
         .doc = "TCP keepalive: seconds of silence before the first probe.",
         .example = "30",
         .min = 1,
         .max = 7200},
        {.name = "keepalive.interval_secs",
         .place =
             place<std::uint32_t>([at](auto& c) -> auto& { return at(c).keepalive.interval_secs; }),
         .doc = "TCP keepalive: seconds between probes.",
         .example = "10",
         .min = 1,
         .max = 7200},
        {.name = "keepalive.retries",
         .place = place<std::uint32_t>([at](auto& c) -> auto& { return at(c).keepalive.retries; }),
         .doc = "TCP keepalive: probes without an answer before the connection counts as lost.",
         .example = "3",
         .min = 1,
         .max = 100},
    };
}

// The keys of a connection, at pipeline.pg_connection and pipeline.store_pg_connection.
template <class Access>
void add_connection_keys(std::vector<Key>& keys, const std::string& prefix, Access at) {
    for (const std::vector<Key>& rows : {address_keys(at), transport_keys(at)}) {
        for (Key row : rows) {
            row.name = prefix + "." + row.name;
            keys.push_back(std::move(row));
        }
    }
}

void add_source_keys(std::vector<Key>& keys) {
    keys.push_back({.name = "pipeline.id",
                    .place = place<std::uint64_t>([](auto& c) -> auto& { return c.pipeline.id; }),
                    .doc = "A number of your choice that names the slot (`walbrook_<id>`) and all "
                           "records. Never change it.",
                    .example = "1",
                    .min = 1,
                    .max = std::numeric_limits<std::uint64_t>::max(),
                    .required = true});
    keys.push_back(
        {.name = "pipeline.publication_name",
         .place = place<std::string>([](auto& c) -> auto& { return c.pipeline.publication_name; }),
         .doc = "The publication of the source that says which tables to copy.",
         .example = "shop",
         .required = true});
    add_connection_keys(keys, "pipeline.pg_connection",
                        [](ProgramConfig& c) -> auto& { return c.pipeline.pg_connection; });
    keys.push_back(
        {.name = "pipeline.work_dir",
         .place = place<std::string>([](auto& c) -> auto& { return c.pipeline.work_dir; }),
         .doc = "State, spill files and the control socket; made with mode 0700. On a "
                "local disk: network file systems are refused, but for FUSE and 9P, which "
                "containers have, too.",
         .example = "work",
         .fallback = "walbrook-<id>",
         .path_rule = PathRule::path});
}

void add_store_keys(std::vector<Key>& keys) {
    keys.push_back({.name = "pipeline.store.type",
                    .place = choice([](auto& c) -> auto& { return c.store.type; }),
                    .doc = "Where phases, schema versions and positions are remembered. `memory` "
                           "forgets them at the end; a destination that keeps its position makes "
                           "up for it.",
                    .example = "sqlite",
                    .choices = {"memory", "sqlite", "postgres"}});
    keys.push_back({.name = "pipeline.store.path",
                    .place = place<std::string>([](auto& c) -> auto& { return c.store.path; }),
                    .doc = "The file of the sqlite store.",
                    .example = "state.db",
                    .fallback = "<work_dir>/state.db",
                    .path_rule = PathRule::path});
    add_connection_keys(keys, "pipeline.store_pg_connection",
                        [](ProgramConfig& c) -> PgConnectionConfig& {
                            if (!c.store_pg_connection) c.store_pg_connection.emplace();
                            return *c.store_pg_connection;
                        });
}

void add_flow_keys(std::vector<Key>& keys) {
    const auto backpressure = [](ProgramConfig& c) -> MemoryBackpressureConfig& {
        auto& value = c.pipeline.memory_backpressure;
        if (!value) value.emplace();
        return *value;
    };
    keys.push_back({.name = "pipeline.batch.max_fill_ms",
                    .place = place<std::uint32_t>(
                        [](auto& c) -> auto& { return c.pipeline.batch.max_fill_ms; }),
                    .doc = "A change waits at most this long for its flush.",
                    .example = "500",
                    .min = 1,
                    .max = 600'000});
    keys.push_back(
        {.name = "pipeline.batch.max_bytes",
         .place = place<std::uint64_t>([](auto& c) -> auto& { return c.pipeline.batch.max_bytes; }),
         .doc = "A flush closes at this size.",
         .example = "8388608",
         .min = 1,
         .max = 1ULL << 30});
    keys.push_back({.name = "pipeline.batch.memory_budget_ratio",
                    .place = place<double>(
                        [](auto& c) -> auto& { return c.pipeline.batch.memory_budget_ratio; }),
                    .doc = "Share of the memory (of the container, else of the machine) for all "
                           "batches of changes together, but never more than 24 times max_bytes.",
                    .example = "0.2"});
    keys.push_back({.name = "pipeline.memory_refresh_interval_ms",
                    .place = place<std::uint32_t>(
                        [](auto& c) -> auto& { return c.pipeline.memory_refresh_interval_ms; }),
                    .doc = "How often the memory in use is measured.",
                    .example = "100",
                    .min = 10,
                    .max = 60'000});
    keys.push_back({.name = "pipeline.memory_backpressure.activate_threshold",
                    .place = place<double>([backpressure](auto& c) -> auto& {
                        return backpressure(c).activate_threshold;
                    }),
                    .doc = "Reading pauses above this share of the memory, and after a second goes "
                           "on in small steps.",
                    .example = "0.85"});
    keys.push_back({.name = "pipeline.memory_backpressure.resume_threshold",
                    .place = place<double>([backpressure](auto& c) -> auto& {
                        return backpressure(c).resume_threshold;
                    }),
                    .doc = "And goes on as usual below this one.",
                    .example = "0.75"});
}

void add_copy_keys(std::vector<Key>& keys) {
    keys.push_back({.name = "pipeline.max_table_sync_workers",
                    .place = place<std::uint16_t>(
                        [](auto& c) -> auto& { return c.pipeline.max_table_sync_workers; }),
                    .doc = "Tables that are copied at the same time.",
                    .example = "4",
                    .min = 1,
                    .max = 64});
    keys.push_back({.name = "pipeline.max_copy_connections_per_table",
                    .place = place<std::uint16_t>(
                        [](auto& c) -> auto& { return c.pipeline.max_copy_connections_per_table; }),
                    .doc = "Connections that copy one large table together.",
                    .example = "4",
                    .min = 1,
                    .max = 64});
    keys.push_back({.name = "pipeline.copy_lock_yield_ms",
                    .place = place<std::uint32_t>(
                        [](auto& c) -> auto& { return c.pipeline.copy_lock_yield_ms; }),
                    .doc = "A copy gives up its table lock about this often, so that a migration "
                           "of yours waits no longer.",
                    .example = "2000",
                    .min = 10,
                    .max = 600'000});
    keys.push_back(
        {.name = "pipeline.table_sync_copy.type",
         .place = choice([](auto& c) -> auto& { return c.pipeline.table_sync_copy.type; }),
         .doc = "Which tables are copied before they are followed.",
         .example = "skip_tables",
         .choices = {"include_all_tables", "skip_all_tables", "include_tables", "skip_tables"}});
    keys.push_back({.name = "pipeline.table_sync_copy.tables",
                    .place = place<std::vector<std::string>>(
                        [](auto& c) -> auto& { return c.pipeline.table_sync_copy.tables; }),
                    .doc = "Names or patterns for include_tables and skip_tables.",
                    .example = "[public.orders, \"audit.*\"]",
                    .fallback = "none"});
    keys.push_back({.name = "pipeline.table_error_retry_delay_ms",
                    .place = place<std::uint64_t>(
                        [](auto& c) -> auto& { return c.pipeline.table_error_retry_delay_ms; }),
                    .doc = "Wait before an errored table is copied again by itself.",
                    .example = "10000",
                    .min = 1,
                    .max = kDayMs});
    keys.push_back({.name = "pipeline.table_error_retry_max_attempts",
                    .place = place<std::uint32_t>(
                        [](auto& c) -> auto& { return c.pipeline.table_error_retry_max_attempts; }),
                    .doc = "So many times; 0 for never.",
                    .example = "5",
                    .min = 0,
                    .max = 1'000'000});
    keys.push_back(
        {.name = "pipeline.invalidated_slot_behavior",
         .place = choice([](auto& c) -> auto& { return c.pipeline.invalidated_slot_behavior; }),
         .doc = "When the slot was lost: stop with an error, or make a new one and "
                "copy every table again.",
         .example = "recreate",
         .choices = {"error", "recreate"}});
    keys.push_back(
        {.name = "pipeline.schema_change_policy",
         .place = choice([](auto& c) -> auto& { return c.pipeline.schema_change_policy; }),
         .doc = "When a change of a table cannot be followed in place (a narrower type, a "
                "rewriting ALTER TABLE): copy that table again, or make it errored.",
         .example = "stop",
         .choices = {"resync", "stop"}});
}

void add_kindness_keys(std::vector<Key>& keys) {
    keys.push_back(
        {.name = "pipeline.copy_max_bytes_per_second",
         .place = place<std::uint64_t>(
             [](auto& c) -> auto& { return c.pipeline.copy_max_bytes_per_second; }),
         .doc = "All copies together read no more from the source than this, on the average of "
                "some seconds; 0 for no limit. They wait between ranges, where no lock is held.",
         .example = "50000000",
         .max = 1ULL << 40});
    keys.push_back(
        {.name = "pipeline.max_slot_lag_bytes",
         .place =
             place<std::uint64_t>([](auto& c) -> auto& { return c.pipeline.max_slot_lag_bytes; }),
         .doc = "When the slot holds back more WAL at the source than this, `slot_lag_behavior` "
                "acts; 0 for no limit.",
         .example = "100000000000",
         .max = 1ULL << 60});
    keys.push_back(
        {.name = "pipeline.slot_lag_behavior",
         .place = choice([](auto& c) -> auto& { return c.pipeline.slot_lag_behavior; }),
         .doc =
             "Beyond `max_slot_lag_bytes`: warn (a problem in `status` and a line in the log), or "
             "drop the slot and stop, so that the source's disk cannot fill; all tables are "
             "then to be copied again (`invalidated_slot_behavior`).",
         .example = "drop_slot",
         .choices = {"warn", "drop_slot"}});
    keys.push_back({.name = "pipeline.max_snapshot_age_secs",
                    .place = place<std::uint64_t>(
                        [](auto& c) -> auto& { return c.pipeline.max_snapshot_age_secs; }),
                    .doc =
                        "While a copy's snapshot lives, vacuum removes no row that died since. One "
                        "that is older: the table is copied again in ranges of its key, each with "
                        "a snapshot of its own, where the key begins with an integer or a uuid; "
                        "else it is a problem in `status` and a warning in the log. 0: any age.",
                    .example = "86400",
                    .max = 31'536'000});
    keys.push_back(
        {.name = "pipeline.heartbeat_interval_ms",
         .place = place<std::uint32_t>(
             [](auto& c) -> auto& { return c.pipeline.heartbeat_interval_ms; }),
         .doc = "How often a tiny message (pg_logical_emit_message) is written to the source's "
                "log; 0 for never. The slot moves on without it, too: it is for those who "
                "want to see from the outside that all of the way works, and for servers whose "
                "walsender is silent while nothing is replicated.",
         .example = "10000",
         .max = kDayMs});
    keys.push_back({.name = "pipeline.failover_slot",
                    .place = choice([](auto& c) -> auto& { return c.pipeline.failover_slot; }),
                    .doc = "On Postgres 17 and newer the slot is one that standbys with "
                           "sync_replication_slots take over, so that a promoted one goes on "
                           "without a new copy.",
                    .example = "off",
                    .choices = {"off", "on"}});
}

void add_program_keys(std::vector<Key>& keys) {
    keys.push_back(
        {.name = "destination.ducklake.catalog",
         .place = place<std::string>([](auto& c) -> auto& { return c.ducklake.catalog; }),
         .doc = "Where the lake's catalog is: a path (a SQLite file), postgres:DSN, or duckdb:PATH "
                "(which nobody else can open meanwhile: no reader, and not `walbrook verify`).",
         .example = "\"lake/catalog.sqlite\"",
         .path_rule = PathRule::catalog,
         .secrecy = Secrecy::inside});
    keys.push_back(
        {.name = "destination.ducklake.data_path",
         .place = place<std::string>([](auto& c) -> auto& { return c.ducklake.data_path; }),
         .doc = "The folder of the Parquet files; made if it is missing. Without a backslash.",
         .example = "\"lake/data\"",
         .path_rule = PathRule::path_or_url});
    keys.push_back({.name = "server.listen",
                    .place = place<std::string>([](auto& c) -> auto& { return c.server.listen; }),
                    .doc = "Address of /livez, /readyz, /metrics and /api/v1, or off. One that "
                           "other machines can reach needs the token and tls, too.",
                    .example = "\"127.0.0.1:9090\""});
    keys.push_back({.name = "server.token",
                    .place = place<std::string>([](auto& c) -> auto& { return c.server.token; }),
                    .doc = "Asked for over TCP as `Authorization: Bearer …`, except by /livez and "
                           "/readyz. At least 16 visible characters; `openssl rand -hex 32` makes "
                           "one. Better from a file (`token_file`) or a variable.",
                    .example = "\"${WALBROOK_TOKEN}\"",
                    .secrecy = Secrecy::whole});
    keys.push_back({.name = "server.tls.cert",
                    .place = place<std::string>([](auto& c) -> auto& { return c.server.tls_cert; }),
                    .doc = "Makes the address speak https (TLS 1.2 or newer): its certificate and "
                           "the issuers behind it, as PEM text or a path. Read at the start.",
                    .example = "server.crt",
                    .path_rule = PathRule::path_or_pem});
    keys.push_back({.name = "server.tls.key",
                    .place = place<std::string>([](auto& c) -> auto& { return c.server.tls_key; }),
                    .doc = "Its private key, as PEM text or a path.",
                    .example = "server.key",
                    .path_rule = PathRule::path_or_pem,
                    .secrecy = Secrecy::inside});
    keys.push_back(
        {.name = "verify.schedule",
         .place = place<std::string>([](auto& c) -> auto& { return c.verify.schedule; }),
         .doc = "When `walbrook run` compares source and destination by itself: after an interval "
                "(30s, 90m, 24h, 7d), at moments in UTC as the five fields of cron "
                "(`30 3 * * 0`), or off.",
         .example = "24h"});
    keys.push_back(
        {.name = "verify.tables",
         .place = place<std::vector<std::string>>([](auto& c) -> auto& { return c.verify.tables; }),
         .doc = "Tables to compare then, by name or pattern.",
         .example = "[public.orders, \"audit.*\"]",
         .fallback = "all tables"});
    keys.push_back({.name = "verify.max_rows_per_second",
                    .place = place<std::uint64_t>(
                        [](auto& c) -> auto& { return c.verify.max_rows_per_second; }),
                    .doc = "No more rows than this are read from the source then; 0 for as many "
                           "as it gives.",
                    .example = "20000",
                    .max = 1'000'000'000});
    keys.push_back({.name = "verify.repair",
                    .place = choice([](auto& c) -> auto& { return c.verify.repair; }),
                    .doc = "Whether rows that differ are then put right, as by "
                           "`walbrook verify --repair`. They are errors in the log all the same.",
                    .example = "on",
                    .choices = {"off", "on"}});
    keys.push_back({.name = "log.level",
                    .place = choice([](auto& c) -> auto& { return c.log.level; }),
                    .doc = "Less than this is not logged.",
                    .example = "debug",
                    .choices = {"debug", "info", "warn", "error"}});
    keys.push_back(
        {.name = "log.format",
         .place = choice([](auto& c) -> auto& { return c.log.format; }),
         .doc = "Form of the log on stderr; auto is human on a terminal, json elsewhere.",
         .example = "json",
         .choices = {"auto", "human", "json"}});
    keys.push_back(
        {.name = "config_version",
         .place = place<std::uint32_t>([](auto& c) -> auto& { return c.config_version; }),
         .doc = "Version of this file's form.",
         .example = "1",
         .min = 1,
         .max = 1});
}

std::string yaml_quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        if (c == '\n') {
            out += "\\n";
        } else {
            out += c;
        }
    }
    return out + "\"";
}

// A key in another form than PEM is taken for a path: only one that is there is shown.
bool is_there(const std::string& path) {
    std::error_code error;
    return std::filesystem::exists(path, error);
}

std::string shown(const std::string& value, const Key& key) {
    switch (key.secrecy) {
        case Secrecy::none:
            // A file of certificates may have the key in it.
            return value.find("PRIVATE KEY") == std::string::npos ? value : "***";
        case Secrecy::inside:
            if (key.path_rule == PathRule::path_or_pem) return is_there(value) ? value : "***";
            return shown_connection(value);
        case Secrecy::whole:
            return "***";
    }
    return "***";
}

}  // namespace

const std::vector<Key>& config_keys() {
    static const std::vector<Key> keys = [] {
        std::vector<Key> made;
        add_source_keys(made);
        add_store_keys(made);
        add_flow_keys(made);
        add_copy_keys(made);
        add_kindness_keys(made);
        add_program_keys(made);
        return made;
    }();
    return keys;
}

const std::vector<Section>& config_sections() {
    static const std::vector<Section> sections = {
        {.name = "pipeline", .doc = "The source, and how it is read."},
        {.name = "pipeline.pg_connection", .doc = "The source: give `url`, or the single values."},
        {.name = "pipeline.store_pg_connection",
         .doc = "The database of the postgres store, if it is not the source.",
         .enter =
             [](ProgramConfig& c) {
                 if (!c.store_pg_connection) c.store_pg_connection.emplace();
             },
         .none = [](ProgramConfig& c) { c.store_pg_connection.reset(); }},
        {.name = "pipeline.memory_backpressure",
         .doc = "When reading pauses because memory runs short; null turns it off.",
         .none = [](ProgramConfig& c) { c.pipeline.memory_backpressure.reset(); }},
        {.name = "destination", .doc = "Where the data goes: exactly one kind."},
        {.name = "destination.ducklake",
         .doc = "A DuckLake: Parquet files and a catalog that any DuckDB can attach.",
         .enter = [](ProgramConfig& c) { c.destination = DestinationKind::ducklake; }},
        {.name = "destination.blackhole",
         .doc =
             "Discards everything, after folding it into a checksum: for measuring. Has no keys: "
             "write `blackhole: {}`.",
         .enter = [](ProgramConfig& c) { c.destination = DestinationKind::blackhole; },
         .none = [](ProgramConfig& c) { c.destination = DestinationKind::blackhole; }},
        {.name = "server", .doc = "Health, metrics and the API."},
        {.name = "verify",
         .doc = "Comparisons of source and destination that `run` does by itself."},
        {.name = "log", .doc = "What is written to stderr."},
    };
    return sections;
}

const std::vector<PlannedKey>& planned_keys() {
    static const std::vector<PlannedKey> planned = {
        {"pipeline.tables"},        {"destination.iceberg"},   {"destination.bigquery"},
        {"destination.clickhouse"}, {"destination.snowflake"}, {"destination.kafka"},
        {"destination.postgres"},   {"destination.parquet"},
    };
    return planned;
}

const Key* find_key(std::string_view name) {
    for (const Key& key : config_keys()) {
        if (key.name == name) return &key;
    }
    return nullptr;
}

const Section* find_section(std::string_view name) {
    for (const Section& section : config_sections()) {
        if (section.name == name) return &section;
    }
    return nullptr;
}

bool is_section(std::string_view name) {
    if (find_section(name) != nullptr) return true;
    return std::any_of(config_keys().begin(), config_keys().end(), [&](const Key& key) {
        return key.name.size() > name.size() && key.name.starts_with(name) &&
               key.name[name.size()] == '.';
    });
}

bool is_planned(std::string_view name) {
    return std::any_of(planned_keys().begin(), planned_keys().end(),
                       [&](const PlannedKey& key) { return key.name == name; });
}

std::vector<std::string> names_below(std::string_view section) {
    std::vector<std::string> names;
    const auto add = [&](std::string_view full) {
        const std::size_t from = section.empty() ? 0 : section.size() + 1;
        if (full.size() <= from) return;
        if (from != 0 && (!full.starts_with(section) || full[from - 1] != '.')) return;
        std::string name(full.substr(from, full.find('.', from) - from));
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    };
    for (const Key& key : config_keys()) {
        add(key.name);
        if (key.secrecy != Secrecy::none) add(key.name + "_file");
    }
    for (const Section& row : config_sections()) add(row.name);
    return names;
}

const Key* secret_of_file_key(std::string_view name) {
    if (!name.ends_with("_file")) return nullptr;
    const Key* key = find_key(name.substr(0, name.size() - 5));
    return key != nullptr && key->secrecy != Secrecy::none ? key : nullptr;
}

std::string printed_value(const Key& key, ProgramConfig& config) {
    struct Printer {
        const Key& key;
        ProgramConfig& config;
        std::string operator()(const PlaceOf<std::string>& at) const {
            const std::string& value = at(config);
            if (value.empty()) return "";
            return yaml_quoted(shown(value, key));
        }
        std::string operator()(const PlaceOf<std::uint16_t>& at) const {
            // A port of 0 means that none was given.
            return at(config) == 0 ? "" : std::to_string(at(config));
        }
        std::string operator()(const PlaceOf<std::uint32_t>& at) const {
            return std::to_string(at(config));
        }
        std::string operator()(const PlaceOf<std::uint64_t>& at) const {
            return key.required && at(config) == 0 ? "" : std::to_string(at(config));
        }
        std::string operator()(const PlaceOf<double>& at) const {
            return fmt::format("{}", at(config));
        }
        std::string operator()(const PlaceOf<std::vector<std::string>>& at) const {
            std::vector<std::string> items;
            for (const std::string& item : at(config)) items.push_back(yaml_quoted(item));
            return items.empty() ? "" : fmt::format("[{}]", fmt::join(items, ", "));
        }
        std::string operator()(const ChoicePlace& at) const {
            const std::size_t index = at.get(config);
            WALBROOK_CHECK(index < key.choices.size());
            return std::string(key.choices[index]);
        }
    };
    return std::visit(Printer{key, config}, key.place);
}

std::string printed_default(const Key& key) {
    if (key.required) return "required";
    if (!key.fallback.empty()) return key.fallback;
    ProgramConfig defaults;
    return printed_value(key, defaults);
}

std::string expectation(const Key& key) {
    if (!key.choices.empty()) return fmt::format("one of {}", fmt::join(key.choices, ", "));
    if (std::holds_alternative<PlaceOf<double>>(key.place)) return "a number above 0 and up to 1";
    if (std::holds_alternative<PlaceOf<std::vector<std::string>>>(key.place))
        return "a list of texts";
    if (std::holds_alternative<PlaceOf<std::string>>(key.place)) return "a text";
    if (key.min == key.max) return std::to_string(key.min);
    if (key.max == std::numeric_limits<std::uint64_t>::max()) {
        return fmt::format("a whole number from {} up", key.min);
    }
    return fmt::format("a whole number from {} to {}", key.min, key.max);
}

}  // namespace walbrook
