#include "bench.h"

#include "support/eventually.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>
#include <unistd.h>

namespace walbrook::bench {

namespace fs = std::filesystem;
using testing::ChildExit;
using testing::ChildOptions;
using testing::ChildProcess;
using testing::Database;
using testing::PgCluster;
using testing::PgClusterOptions;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::hours kForever{1};
constexpr int kPipelineId = 1;

double since(Clock::time_point from) {
    return std::chrono::duration<double>(Clock::now() - from).count();
}

Run finished(const ChildExit& exit, double seconds, std::string output, const std::string& what) {
    if (!exit.ok()) {
        throw std::runtime_error(fmt::format("{} failed (exit {}, signal {}):\n{}", what, exit.code,
                                             exit.signal, output));
    }
    return {seconds, static_cast<double>(exit.cpu.count()) / 1e6,
            static_cast<double>(exit.rss_kib_max) / 1024, std::move(output)};
}

std::string first_line_with(const std::string& file, const std::string& key) {
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with(key)) return line.substr(line.find(':') + 2);
    }
    return "?";
}

}  // namespace

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

Run run_timed(const std::string& program, std::vector<std::string> args) {
    const testing::TempDir folder("bench");
    ChildOptions options;
    options.args = std::move(args);
    options.output_file = folder.file("output");
    const auto from = Clock::now();
    ChildProcess process(program, options);
    const auto exit = process.wait(kForever);
    const double seconds = since(from);
    if (!exit) throw std::runtime_error(program + " does not end");
    if (std::getenv("WALBROOK_BENCH_VERBOSE") != nullptr) fmt::print("{}", process.output());
    return finished(*exit, seconds, process.output(), program);
}

Run bare_copy(const std::string& url, const std::string& table, unsigned connections) {
    return run_timed(WALBROOK_BARE_READER, {"copy", url, table, std::to_string(connections)});
}

Run bare_stream(const std::string& url, const std::string& slot, const std::string& publication,
                Lsn end) {
    return run_timed(WALBROOK_BARE_READER, {"stream", url, slot, publication, to_string(end)});
}

Run duckdb_import(const std::string& url, const std::string& table) {
    const testing::TempDir folder("import");
    return run_timed(WALBROOK_LAKE_PEER,
                     {"import", url, table, folder.file("catalog.sqlite"), folder.file("data")});
}

std::unique_ptr<PgCluster> start_server() {
    const char* version = std::getenv("WALBROOK_BENCH_PG_VERSION");
    PgClusterOptions options;
    options.version = version == nullptr ? 17 : std::atoi(version);
    options.settings = {{"shared_buffers", "4GB"},       {"max_wal_size", "64GB"},
                        {"checkpoint_timeout", "1h"},    {"fsync", "off"},
                        {"wal_buffers", "64MB"},         {"jit", "off"},
                        {"maintenance_work_mem", "1GB"}, {"logical_decoding_work_mem", "64MB"}};
    return std::make_unique<PgCluster>(options);
}

double server_cpu_seconds(const PgCluster& cluster) {
    // The postmaster's children that it has reaped: fields 16 and 17 (proc(5)).
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    std::ifstream in("/proc/" + std::to_string(cluster.pid()) + "/stat");
    std::string word;
    double ticks = 0;
    for (int field = 1; field <= 17 && in >> word; ++field) {
        if (field >= 16) ticks += std::stod(word);
    }
    return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

void create_mixed_table(Database& database, const std::string& name) {
    database.exec(fmt::format(
        "create table {}(id bigint primary key, quantity int not null, name text not null, "
        "price numeric(12,2) not null, weight float8 not null, note text, "
        "created timestamptz not null, due date not null, paid bool not null, "
        "reference uuid not null, details jsonb not null)",
        name));
}

std::string mixed_rows(const std::string& from, const std::string& to) {
    return fmt::format(
        "select g, (g * 7919 % 1000003)::int, 'customer ' || md5(g::text), "
        "(g * 31 % 100000000)::numeric / 100, sqrt(g::float8), "
        "case when g % 3 = 0 then null else 'note ' || g end, "
        "timestamptz '2024-01-01' + g * interval '1.234567 s', date '2020-01-01' + (g % "
        "3000)::int, "
        "g % 2 = 0, md5(g::text)::uuid, "
        "jsonb_build_object('k', g % 1000, 's', 'v' || g % 77) "
        "from generate_series({}::bigint, {}::bigint) g",
        from, to);
}

Replica::Replica(const Database& source, Kind kind, std::vector<std::string> pipeline_keys)
    : url_(source.url()), slot_("walbrook_" + std::to_string(kPipelineId)), folder_("bench") {
    std::string text = fmt::format(
        "pipeline:\n  id: {}\n  publication_name: bench\n  pg_connection: {{url: \"{}\"}}\n"
        "  store: {{type: sqlite, path: state.db}}\n  work_dir: work\n",
        kPipelineId, url_);
    for (const std::string& key : pipeline_keys) text += "  " + key + "\n";
    text += kind == Kind::blackhole
                ? "destination: {blackhole: {}}\n"
                : "destination: {ducklake: {catalog: \"lake/catalog.sqlite\", data_path: "
                  "\"lake/data\"}}\n";
    text += "server: {listen: off}\n";
    fs::create_directories(folder_.path() / "lake");
    std::ofstream(folder_.file("walbrook.yaml")) << text;
}

std::vector<std::string> Replica::run_args() const {
    return {"run", "--config", folder_.file("walbrook.yaml")};
}

Run Replica::catch_up() {
    std::vector<std::string> args = run_args();
    args.emplace_back("--until-caught-up");
    if (const char* profile = std::getenv("WALBROOK_BENCH_PROFILE")) {
        args.insert(args.begin(), {"record", "-q", "-g", "-F", "2000", "-o", profile, "--",
                                   WALBROOK_PROGRAM_PATH});
        return run_timed("perf", args);
    }
    return run_timed(WALBROOK_PROGRAM_PATH, args);
}

ChildProcess& Replica::start() {
    ChildOptions options;
    options.args = run_args();
    options.output_file = folder_.file("log");
    process_ = std::make_unique<ChildProcess>(WALBROOK_PROGRAM_PATH, options);
    return *process_;
}

ChildExit Replica::stop() {
    process_->signal(SIGTERM);
    const auto exit = process_->wait(std::chrono::minutes(2));
    if (!exit || !exit->ok())
        throw std::runtime_error("walbrook ended badly:\n" + process_->output());
    return *exit;
}

std::string Replica::status() const {
    const auto finished = testing::run_program(
        WALBROOK_PROGRAM_PATH,
        {.args = {"status", "--json", "--config", folder_.file("walbrook.yaml")}});
    return finished.exit.ok() ? finished.output : std::string();
}

void Replica::wait_until_caught_up(Database& source) {
    const Lsn target = source.lsn();
    const bool done = testing::eventually(
        [&] {
            const std::string confirmed = source.value(
                "select exists(select from pg_replication_slots where slot_name = '" + slot_ +
                "' and confirmed_flush_lsn >= '" + to_string(target) + "'::pg_lsn)");
            return confirmed == "t";
        },
        std::chrono::minutes(20));
    if (!done) throw std::runtime_error("walbrook does not catch up:\n" + process_->output());
}

void Replica::save() {
    const fs::path saved = folder_.path() / "saved";
    fs::remove_all(saved);
    fs::create_directories(saved);
    for (const char* part : {"state.db", "work", "lake"}) {
        if (!fs::exists(folder_.path() / part)) continue;
        fs::copy(folder_.path() / part, saved / part, fs::copy_options::recursive);
    }
}

void Replica::restore() {
    for (const char* part : {"state.db", "state.db-wal", "state.db-shm", "work", "lake"}) {
        fs::remove_all(folder_.path() / part);
    }
    fs::copy(folder_.path() / "saved", folder_.path(), fs::copy_options::recursive);
}

void Replica::expect_equal(const std::string& table) const {
    run_timed(WALBROOK_LAKE_PEER, {"compare", url_, table, catalog()});
}

void print_machine(Database& database) {
    fmt::print("machine: {} x {}, {}; {}\n", std::thread::hardware_concurrency(),
               first_line_with("/proc/cpuinfo", "model name"),
               first_line_with("/proc/meminfo", "MemTotal"),
               database.value("select 'Postgres ' || current_setting('server_version')"));
}

}  // namespace walbrook::bench
