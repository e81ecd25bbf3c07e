#include "base/backoff.h"
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/comparison.h"
#include "cli/comparisons.h"
#include "cli/config_file.h"
#include "cli/log_sink.h"
#include "cli/make_parts.h"
#include "cli/signals.h"
#include "pipeline/source_check.h"
#include "postgres/connect_options.h"
#include "postgres/shown_connection.h"
#include "server/control_server.h"

#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <signal.h>
#include <thread>
#include <unistd.h>

namespace walbrook {
namespace {

constexpr std::chrono::milliseconds kWatchInterval{200};
constexpr int kSignalExitBase = 128;  // What shells report of a process that a signal ended.

std::string_view destination_name(const ProgramConfig& config) {
    return config.destination == DestinationKind::ducklake ? "ducklake" : "blackhole";
}

// Where the source is, without secrets.
std::string source_name(const PgConnectionConfig& connection) {
    if (!connection.url.empty()) return shown_connection(connection.url);
    return fmt::format("{}@{}:{}/{}", connection.username, connection.host,
                       connection.port == 0 ? 5432 : connection.port, connection.name);
}

// One `walbrook run`, from a good configuration to its end.
class Run final : public verify::Cutter {
 public:
    Run(const RunOptions& options, LoadedConfig loaded)
        : options_(options),
          loaded_(std::move(loaded)),
          log_(make_stderr_sink(loaded_.config.log), loaded_.config.log.level),
          comparisons_(loaded_.config, *this, [this] { return running_status(); }, log_) {}

    ExitCode execute();

    // Of the pipeline that runs, for `walbrook verify` in another process.
    Status hold_for_cut(std::chrono::milliseconds at_most) override {
        WALBROOK_TRY(const std::shared_ptr<Pipeline> running, started_pipeline());
        return running->hold_for_cut(at_most);
    }
    Result<Lsn> cut(Lsn at, std::chrono::milliseconds at_most) override {
        WALBROOK_TRY(const std::shared_ptr<Pipeline> running, started_pipeline());
        return running->cut(at, at_most);
    }
    Result<RowRepairs> repair(Lsn at, const std::string& snapshot,
                              const std::vector<RowRepair>& rows,
                              std::chrono::milliseconds at_most) override {
        WALBROOK_TRY(const std::shared_ptr<Pipeline> running, started_pipeline());
        return running->repair(at, snapshot, rows, at_most);
    }
    Status resync(const std::vector<std::string>& tables) override {
        WALBROOK_TRY(const std::shared_ptr<Pipeline> running, started_pipeline());
        return running->command(TableCommand::resync, tables).status();
    }
    Result<std::map<TableId, verify::TableCopies>> copies() override {
        if (const auto running = running_status()) return copies_of(*running);
        return Error(ErrorCode::unavailable, "the pipeline has not started yet; try again");
    }
    Status keep_readable(Lsn position, std::chrono::milliseconds how_long) override {
        WALBROOK_TRY(const std::shared_ptr<Pipeline> running, started_pipeline());
        return running->keep_readable(position, how_long);
    }

 private:
    void on_signal(int signal, int count);
    void warn_of_unverified_server(const ProgramConfig& config) const;
    StatusReport status() const;
    std::optional<PipelineStatus> running_status() const;
    Result<std::unique_ptr<ControlServer>> serve();
    // Tries until source and destination answer, the time is up, or we are stopped.
    Result<std::shared_ptr<Pipeline>> start_pipeline();
    Result<std::shared_ptr<Pipeline>> start_once();
    void set_pipeline(std::shared_ptr<Pipeline> pipeline, bool started);
    std::shared_ptr<Pipeline> pipeline() const;
    Result<std::shared_ptr<Pipeline>> started_pipeline() const;
    // Ends the pipeline when it cannot reach the other side for too long.
    void watch_reach(const std::stop_token& stop);
    Status run_pipeline(Pipeline& pipeline);
    bool begins_anew(const Status& end) const;
    ExitCode finish(const Status& end);
    ExitCode fail(const Error& error);

    const RunOptions options_;
    const LoadedConfig loaded_;
    const Logger log_;
    std::stop_source stop_;
    std::atomic<bool> out_of_reach_ = false;
    mutable std::mutex mutex_;  // Guards what follows.
    std::shared_ptr<Pipeline> pipeline_;
    bool started_ = false;  // Until then it has no status of its own.
    std::string trouble_;   // Why it has not started yet.
    // Last: its thread uses the others.
    mutable Comparisons comparisons_;
};

void Run::on_signal(int signal, int count) {
    if (count > 1) {
        log_.warn("second signal: stopping at once; the next start goes on from what is durable");
        _exit(kSignalExitBase + signal);
    }
    log_.info("stopping", {{"signal", strsignal(signal)}});
    stop_.request_stop();
    comparisons_.stop();
    if (const auto running = pipeline()) {
        running->shutdown();
    } else {
        // Nothing has been changed anywhere, and a connection attempt may take long.
        _exit(static_cast<int>(ExitCode::done));
    }
}

// Who asks for encryption expects more than it gives alone.
void Run::warn_of_unverified_server(const ProgramConfig& config) const {
    const auto check = [&](const char* key, const PgConnectionConfig& connection) {
        if (connection.tls.mode != "require" || !connection.tls.trusted_root_certs.empty() ||
            !url_value(connection.url, "sslrootcert").empty()) {
            return;
        }
        log_.warn(
            "the server's certificate is not checked: whoever is in between can read "
            "everything; set tls.mode verify-full",
            {{"connection", key}});
    };
    check("pipeline.pg_connection", config.pipeline.pg_connection);
    if (config.store_pg_connection) {
        check("pipeline.store_pg_connection", *config.store_pg_connection);
    }
}

StatusReport Run::status() const {
    StatusReport report;
    report.version = program_version();
    report.pipeline_id = loaded_.config.pipeline.id;
    report.publication = loaded_.config.pipeline.publication_name;
    report.destination = destination_name(loaded_.config);
    std::shared_ptr<Pipeline> running;
    {
        const std::lock_guard lock(mutex_);
        if (started_) running = pipeline_;
        report.pipeline.state = "starting";
        if (!running && !trouble_.empty()) report.pipeline.problems.push_back(trouble_);
    }
    if (running) report.pipeline = running->status();
    comparisons_.add_to(report);
    return report;
}

std::optional<PipelineStatus> Run::running_status() const {
    std::shared_ptr<Pipeline> running;
    {
        const std::lock_guard lock(mutex_);
        if (!started_) return std::nullopt;
        running = pipeline_;
    }
    return running ? std::optional(running->status()) : std::nullopt;
}

void Run::set_pipeline(std::shared_ptr<Pipeline> pipeline, bool started) {
    const std::lock_guard lock(mutex_);
    pipeline_ = std::move(pipeline);
    started_ = started;
}

std::shared_ptr<Pipeline> Run::pipeline() const {
    const std::lock_guard lock(mutex_);
    return pipeline_;
}

Result<std::shared_ptr<Pipeline>> Run::started_pipeline() const {
    if (std::shared_ptr<Pipeline> running = pipeline()) return running;
    return Error(ErrorCode::unavailable, "the pipeline has not started yet; try again");
}

Result<std::unique_ptr<ControlServer>> Run::serve() {
    const ProgramConfig& config = loaded_.config;
    const StatusSource source = [this] { return status(); };
    const TableCommands tables =
        [this](TableCommand what,
               const std::vector<std::string>& names) -> Result<std::vector<std::string>> {
        WALBROOK_TRY(const std::shared_ptr<Pipeline> running, started_pipeline());
        return running->command(what, names);
    };
    const ControlCommands commands{tables, this};
    auto made =
        ControlServer::create({config.pipeline.work_dir, config.server.listen, config.server.token,
                               config.server.tls_cert, config.server.tls_key},
                              source, log_, commands);
    const bool chosen = loaded_.origins.contains("server.listen");
    if (made || chosen || made.error().code() != ErrorCode::config) return made;
    // Nobody asked for the default address, so it is no reason not to run.
    log_.failed(LogLevel::warn, "going on without an address for metrics", made.error());
    return ControlServer::create({config.pipeline.work_dir, "off"}, source, log_, commands);
}

Result<std::shared_ptr<Pipeline>> Run::start_once() {
    const ProgramConfig& config = loaded_.config;
    PipelineOptions pipeline_options;
    pipeline_options.log = log_.as_sink();
    pipeline_options.until_caught_up = options_.until_caught_up;
    WALBROOK_TRY(std::shared_ptr<Pipeline> made,
                 Pipeline::create(config.pipeline, make_store(config), make_destination(config),
                                  std::move(pipeline_options)));
    set_pipeline(made, false);
    if (Status started = made->start(); !started) {
        set_pipeline(nullptr, false);
        return std::move(started).error();
    }
    set_pipeline(made, true);
    return made;
}

Result<std::shared_ptr<Pipeline>> Run::start_pipeline() {
    const Instant began = now();
    Backoff backoff({std::chrono::milliseconds(250), std::chrono::milliseconds(10'000)});
    for (;;) {
        auto made = start_once();
        if (made || stop_.stop_requested()) return made;
        const bool reach = exit_code_of(made.error().code()) == ExitCode::unreachable;
        auto delay = backoff.next();
        if (options_.timeout) {
            // The last try comes when the time is up, however long the pauses have become.
            const std::chrono::duration<double> left =
                std::chrono::duration<double>(*options_.timeout) - (now() - began);
            if (left.count() <= 0) return made;
            delay = std::min(delay, std::chrono::ceil<std::chrono::milliseconds>(left));
        }
        if (!reach) return made;
        {
            const std::lock_guard lock(mutex_);
            trouble_ = made.error().message();
        }
        log_.failed(LogLevel::warn, "not reachable yet", made.error(),
                    {{"next_try_ms", delay.count()}});
        if (!sleep_for(delay, stop_.get_token())) {
            return Error(ErrorCode::cancelled, "stopped while trying to connect");
        }
    }
}

void Run::watch_reach(const std::stop_token& stop) {
    Instant reached = now();
    while (sleep_for(kWatchInterval, stop)) {
        const auto running = pipeline();
        const std::string state = running->status().state;
        if (state != "reconnecting" && state != "retrying") reached = now();
        const std::chrono::duration<double> away = now() - reached;
        if (away.count() < *options_.timeout) continue;
        out_of_reach_ = true;
        log_.error("giving up: source or destination stayed out of reach",
                   {{"timeout_s", fmt::format("{}", *options_.timeout)}});
        running->shutdown();
        return;
    }
}

ExitCode Run::fail(const Error& error) {
    if (error.code() == ErrorCode::cancelled) return ExitCode::done;
    log_.failed(LogLevel::error, "stopped by an error", error);
    return exit_code_of(error.code());
}

ExitCode Run::finish(const Status& end) {
    if (out_of_reach_) return ExitCode::unreachable;
    if (!end.ok()) return fail(end.error());
    const PipelineStatus last = pipeline()->status();
    std::size_t errored = 0;
    for (const TableStatus& table : last.tables) {
        if (table.phase != TablePhase::errored) continue;
        ++errored;
        log_.error("table is errored", {{"table", table.schema + "." + table.name},
                                        {"reason", table.reason},
                                        {"remedy", table.remedy}});
    }
    log_.info("stopped", {{"durable", last.durable},
                          {"transactions", last.transactions},
                          {"changes", last.changes_received},
                          {"tables", last.tables.size()}});
    const bool asked_to_stop = stop_.stop_requested();
    return options_.until_caught_up && !asked_to_stop && errored > 0 ? ExitCode::tables_errored
                                                                     : ExitCode::done;
}

ExitCode Run::execute() {
    const ProgramConfig& config = loaded_.config;
    const auto signals =
        SignalWatch::create([this](int signal, int count) { on_signal(signal, count); });
    if (!signals) return fail(signals.error());
    log_.info("walbrook starts", {{"version", program_version()},
                                  {"pipeline", config.pipeline.id},
                                  {"source", source_name(config.pipeline.pg_connection)},
                                  {"publication", config.pipeline.publication_name},
                                  {"destination", destination_name(config)}});
    // Before there is anything in it.
    if (const Status made = make_work_dir(config.pipeline.work_dir); !made) {
        return fail(made.error());
    }
    warn_of_unverified_server(config);
    const auto server = serve();
    if (!server) return fail(server.error());
    // What ends by itself need not come back to it.
    if (!options_.until_caught_up) comparisons_.start();
    for (;;) {
        const auto made = start_pipeline();
        if (!made) return stop_.stop_requested() ? ExitCode::done : fail(made.error());
        const Status end = run_pipeline(**made);
        if (!begins_anew(end)) return finish(end);
        log_.failed(LogLevel::warn, "the slot was lost while running; beginning anew", end.error());
        set_pipeline(nullptr, false);
    }
}

Status Run::run_pipeline(Pipeline& pipeline) {
    std::jthread watch;
    if (options_.timeout) {
        watch = std::jthread([this](const std::stop_token& stop) { watch_reach(stop); });
    }
    return pipeline.wait();
}

// The start knows how to go on without a slot.
bool Run::begins_anew(const Status& end) const {
    return !end && end.error().code() == ErrorCode::missing_slot && !stop_.stop_requested() &&
           loaded_.config.pipeline.invalidated_slot_behavior == InvalidatedSlotBehavior::recreate;
}

}  // namespace

ExitCode run_command(const RunOptions& options) {
    LoadedConfig loaded =
        load_config(config_file(options.config, options.config_given), process_environment());
    if (!loaded.problems.empty()) return report_problems(loaded);
    return Run(options, std::move(loaded)).execute();
}

}  // namespace walbrook
