#include "integration/replica.h"

#include "server/control_server.h"
#include "server/status_report.h"
#include "support/eventually.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <signal.h>

namespace walbrook::testing {
namespace {

std::atomic<std::uint64_t> next_id{1};

// Every table stands, and all before `target` is durable.
bool is_past(const PipelineStatus& status, Lsn target) {
    for (const TableStatus& table : status.tables) {
        if (table.phase != TablePhase::ready && table.phase != TablePhase::errored) return false;
    }
    return !status.tables.empty() && status.durable >= target;
}

}  // namespace

std::string walbrook_program() {
    const char* const other = std::getenv("WALBROOK_TEST_PROGRAM");
    return other != nullptr ? other : WALBROOK_PROGRAM_PATH;
}

std::string catalog_in(const Database& database) {
    const PgConnectionConfig at = database.connection();
    return fmt::format("postgres:host={} port={} user={} dbname={}", at.host, at.port, at.username,
                       at.name);
}

Replica::Replica(Database& source, std::string publication)
    : source_(source),
      publication_(std::move(publication)),
      // Slots are of the whole server: databases of other tests have theirs.
      id_(static_cast<std::uint64_t>(getpid()) * 1000 + next_id++),
      folder_("replica") {}

Replica::~Replica() {
    if (::testing::Test::HasFailure()) {
        const std::string text = log();
        std::fprintf(stderr, "--- log of walbrook (end)\n%s\n",
                     text.substr(text.size() > 6000 ? text.size() - 6000 : 0).c_str());
    }
}

void Replica::write_config() {
    std::string text = fmt::format(
        "pipeline:\n  id: {}\n  publication_name: '{}'\n  pg_connection: {}\n  work_dir: work\n",
        id_, publication_,
        !connection_.empty()
            ? connection_
            : fmt::format("{{url: \"postgres://{}@127.0.0.1:{}/{}\"}}", role_,
                          port_ == 0 ? source_.cluster().port() : port_, source_.name()));
    for (const std::string& key : keys_) text += "  " + key + "\n";
    text += fmt::format(
        "destination: {{ducklake: {{catalog: \"{}\", data_path: \"{}\"}}}}\n"
        "server: {{listen: off}}\n",
        catalog_.empty() ? "lake/catalog.sqlite" : catalog_, data_path_);
    std::filesystem::create_directories(folder_.path() / "lake");
    write_file(folder_.path() / "walbrook.yaml", text);
}

void Replica::share_lake(const Replica& first) {
    catalog_ = first.catalog();
    data_path_ = first.folder() + "/lake/data";
}

void Replica::start(std::vector<std::string> args) {
    write_config();
    ChildOptions options;
    options.args = {"run", "--config", folder_.file("walbrook.yaml")};
    options.args.insert(options.args.end(), args.begin(), args.end());
    for (const auto& [name, value] : env_) options.env.emplace_back(name, value);
    options.output_file = folder_.file("log");
    process_ = std::make_unique<ChildProcess>(walbrook_program(), options);
}

ChildExit Replica::stop() {
    process_->signal(SIGTERM);
    const auto exit = process_->wait(std::chrono::seconds(60));
    EXPECT_TRUE(exit.has_value()) << "walbrook does not stop";
    return exit ? *exit : process_->kill();
}

ChildExit Replica::kill() { return process_->kill(); }

ChildExit Replica::run_until_caught_up(std::chrono::milliseconds timeout) {
    start({"--until-caught-up"});
    const auto exit = process_->wait(timeout);
    EXPECT_TRUE(exit.has_value()) << "walbrook does not catch up";
    return exit ? *exit : process_->kill();
}

std::string Replica::log() const {
    const std::string path = folder_.file("log");
    return std::filesystem::exists(path) ? read_file(path) : std::string();
}

LakeReader& Replica::lake() {
    if (!lake_) lake_ = std::make_unique<LakeReader>(catalog());
    return *lake_;
}

bool Replica::is_lake_there() const {
    return !catalog_.empty() || std::filesystem::exists(catalog());
}

Lsn Replica::position() {
    if (!is_lake_there()) return {};
    try {
        const auto rows = lake().query(
            "select commit_extra_info from __ducklake_metadata_lake.ducklake_snapshot_changes "
            "where commit_extra_info is not null order by snapshot_id desc limit 1");
        if (rows.empty()) return {};
        const std::string& text = rows[0][0];
        const std::size_t at = text.find("\"lsn\":");
        const std::size_t from = text.find('"', at + 6) + 1;
        return parse_lsn(text.substr(from, text.find('"', from) - from)).value_or(Lsn{});
    } catch (const std::exception&) {
        lake_.reset();  // The catalog is only being made.
        return {};
    }
}

int Replica::snapshots() {
    if (!is_lake_there()) return 0;
    try {
        return std::stoi(
            lake().value("select count(*) from __ducklake_metadata_lake.ducklake_snapshot"));
    } catch (const std::exception&) {
        lake_.reset();  // The catalog is only being made.
        return 0;
    }
}

std::optional<PipelineStatus> Replica::status() {
    // Over the socket that `walbrook status` uses; a process for each question would be most of
    // what the tests do.
    const auto answer = ask_control_socket(work_dir(), "/api/v1/status");
    if (!answer) return std::nullopt;
    auto report = status_report_from_json(*answer);
    if (!report) return std::nullopt;
    return std::move(report->pipeline);
}

Finished Replica::run(std::vector<std::string> args) {
    args.insert(args.end(), {"--config", folder_.file("walbrook.yaml")});
    return run_program(walbrook_program(), {.args = std::move(args)});
}

bool Replica::shows_problem(const std::string& text) {
    return eventually([&] {
        const auto now = status();
        if (!now) return false;
        for (const std::string& problem : now->problems) {
            if (problem.find(text) != std::string::npos) return true;
        }
        return false;
    });
}

std::optional<TableStatus> Replica::table(const std::string& name) {
    const auto now = status();
    if (!now) return std::nullopt;
    for (const TableStatus& each : now->tables) {
        if (each.name == name) return each;
    }
    return std::nullopt;
}

int Replica::count_in_log(const std::string& text) const {
    const std::string all = log();
    int count = 0;
    for (std::size_t at = all.find(text); at != std::string::npos; at = all.find(text, at + 1)) {
        ++count;
    }
    return count;
}

bool Replica::is_copying(const std::string& table, std::uint64_t rows) {
    return eventually([&] {
        const auto now = status();
        if (!now) return false;
        for (const TableStatus& each : now->tables) {
            if (each.name == table) return each.rows_copied >= rows;
        }
        return false;
    });
}

bool Replica::reads(const std::string& table) {
    return eventually([&] {
        return source_.value(fmt::format(
                   "select count(*) from pg_stat_activity where application_name like "
                   "'walbrook:{}:copy%' and query ilike 'copy%' and query like '%\"{}\"%'",
                   id_, table)) != "0";
    });
}

bool Replica::watches_catalog() {
    return eventually([&] {
        return source_.value(fmt::format("select count(*) from pg_stat_activity where "
                                         "application_name like '%{}%catalog%' and query <> ''",
                                         id_)) != "0";
    });
}

bool Replica::catches_up(std::chrono::milliseconds timeout) {
    // A change of our own that the lake must come to hold: positions alone do not move
    // where nothing is replicated.
    const Lsn target = source_.lsn();
    return eventually(
        [&] {
            if (!is_running()) return true;  // The comparison that follows tells.
            const auto now = status();
            return now && is_past(*now, target);
        },
        timeout);
}

std::string Replica::difference_of(const std::string& table, const std::string& schema) {
    return difference_of_tables({table}, schema);
}

std::string Replica::difference_of_tables(const std::vector<std::string>& tables,
                                          const std::string& schema) {
    // To open the lake is costly, and most who ask wait for the moment when nothing differs. A
    // catalog in a file of DuckDB is closed to others while a reader stays.
    if (catalog_.empty() && is_lake_there()) {
        try {
            const std::string early = difference_in(lake(), tables, schema);
            if (!early.empty()) return early;
        } catch (const std::exception& problem) {
            lake_.reset();
            return problem.what();
        }
    }
    try {
        LakeReader now = reader();
        return difference_in(now, tables, schema);
    } catch (const std::exception& problem) {
        return problem.what();
    }
}

std::string Replica::difference_in(LakeReader& lake, const std::vector<std::string>& tables,
                                   const std::string& schema) {
    std::string all;
    for (const std::string& table : tables) {
        const std::string one = difference(table_rows(source_, {.schema = schema, .table = table}),
                                           lake.rows(schema, table));
        if (!one.empty()) all += fmt::format("{}: {}\n", table, one);
    }
    return all;
}

std::string Replica::leftovers_at_source() {
    const std::string sessions = fmt::format(
        "select pid from pg_stat_activity where application_name like 'walbrook:{}:%'", id_);
    const std::string sql = fmt::format(
        "select 'slot ' || slot_name from pg_replication_slots where database = "
        "current_database() and (temporary or slot_name !~ '^walbrook_[0-9]+$') union all "
        "select 'session ' || application_name || coalesce(' ' || state, '') from "
        "pg_stat_activity where pid in ({0}) union all "
        "select 'lock ' || locktype || ' ' || mode from pg_locks where pid in ({0}) or (locktype "
        "= 'advisory' and database = (select oid from pg_database where datname = "
        "current_database())) union all "
        "select 'prepared ' || gid from pg_prepared_xacts where database = current_database() "
        "and gid like 'walbrook%'",
        sessions);
    std::string found;
    // A session that was left behind needs a moment to see that its client is gone.
    const bool clean = eventually(
        [&] {
            found.clear();
            for (const auto& row : source_.query(sql)) found += row[0] + "\n";
            return found.empty();
        },
        std::chrono::seconds(10));
    return clean ? "" : found;
}

}  // namespace walbrook::testing
