#pragma once

#include "integration/lake_reader.h"
#include "support/child_process.h"
#include "support/database.h"
#include "support/eventually.h"
#include "support/temp_dir.h"
#include "walbrook/pipeline.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace walbrook::testing {

// The path of the program that is tested: of this build, or WALBROOK_TEST_PROGRAM.
std::string walbrook_program();

// As walbrook.yaml names a catalog in this database.
std::string catalog_in(const Database& database);

// One pipeline as its users run it: a folder with walbrook.yaml and a lake, and the
// program `walbrook`, which may be killed and started again.
class Replica {
 public:
    explicit Replica(Database& source, std::string publication = "shop");
    ~Replica();

    // Lines for walbrook.yaml under `pipeline:`, for example "batch: {max_fill_ms: 20}".
    void configure(std::string pipeline_key) { keys_.push_back(std::move(pipeline_key)); }
    // As walbrook.yaml names it, instead of a SQLite file.
    void use_catalog(std::string catalog) { catalog_ = std::move(catalog); }
    void set_environment(std::string name, std::string value) { env_[name] = std::move(value); }
    void clear_environment() { env_.clear(); }

    // The source is asked at this port from the next start on: a proxy before it.
    void connect_through(std::uint16_t port) { port_ = port; }
    // The same as this role, or with a `pg_connection` of the test's own, as YAML.
    void connect_as(std::string role) { role_ = std::move(role); }
    void connect_with(std::string pg_connection) { connection_ = std::move(pg_connection); }
    // A second process of the same pipeline: its id, with a folder and a lake of its own.
    void be_a_second(const Replica& first) { id_ = first.id_; }
    // And with its lake: what a service manager on another machine may start.
    void share_lake(const Replica& first);
    std::string slot() const { return "walbrook_" + std::to_string(id_); }

    // walbrook.yaml as the next start() would have it, for programs that run before one.
    void write_config();
    // `walbrook run`, beside the test.
    void start(std::vector<std::string> args = {});
    // SIGTERM and the end of the process.
    ChildExit stop();
    ChildExit kill();
    bool is_running() { return process_ != nullptr && process_->is_running(); }
    ChildProcess& process() { return *process_; }
    // `walbrook run --until-caught-up` to its end.
    ChildExit run_until_caught_up(std::chrono::milliseconds timeout = std::chrono::seconds(120));
    // What the program has written to its log, for messages of failed tests.
    std::string log() const;

    // Waits for a problem in `status` that holds this text.
    [[nodiscard]] bool shows_problem(const std::string& text);
    // The table as `status` has it; nothing when that cannot be asked.
    std::optional<TableStatus> table(const std::string& name);
    // How often this text stands in the log.
    int count_in_log(const std::string& text) const;
    // As `walbrook status --json` says it; nothing when it cannot be asked.
    std::optional<PipelineStatus> status();
    // `walbrook resync|pause|resume …`.
    ChildExit command(std::vector<std::string> args) { return run(std::move(args)).exit; }
    // The same, with what it prints.
    Finished run(std::vector<std::string> args);
    // Waits until so many rows of the table have been copied (and not all, if it is large).
    [[nodiscard]] bool is_copying(const std::string& table, std::uint64_t rows);
    // Waits until a session reads the table to copy it: its snapshot is there.
    [[nodiscard]] bool reads(const std::string& table);
    // Waits for the session that asks the catalog: it outlives rights that a new one would need.
    [[nodiscard]] bool watches_catalog();
    // Waits until the lake holds everything that was committed at the source before this call.
    [[nodiscard]] bool catches_up(std::chrono::milliseconds timeout = std::chrono::seconds(60));
    // The position of the newest snapshot of the lake; 0/0 before there is one.
    Lsn position();
    // Snapshots of the lake.
    int snapshots();
    // Empty when the table is the same on both sides; else the first rows that differ.
    std::string difference_of(const std::string& table, const std::string& schema = "public");
    // The same for several tables: empty, or each that differs with its name.
    std::string difference_of_tables(const std::vector<std::string>& tables,
                                     const std::string& schema = "public");
    LakeReader& lake();
    // Opens the lake anew (a reader of its own keeps what it has read).
    LakeReader reader() const { return LakeReader(catalog()); }
    // As somebody else who writes to it.
    // Like another program would, whose commit the pipeline's upkeep may be quicker than.
    void change_lake(const std::string& sql) const {
        std::string problem;
        const bool is_done = eventually([&] {
            try {
                LakeReader(catalog(), LakeAccess::write).query(sql);
                problem.clear();
                return true;
            } catch (const std::runtime_error& error) {
                problem = error.what();
                return problem.find("Failed to commit DuckLake") == std::string::npos;
            }
        });
        if (!is_done || !problem.empty()) throw std::runtime_error(problem);
    }
    std::string catalog() const {
        return catalog_.empty() ? folder_.file("lake/catalog.sqlite") : catalog_;
    }
    std::string folder() const { return folder_.path().string(); }
    std::string work_dir() const { return folder_.file("work"); }
    // What is left at the source after the pipeline: slots other than ours, sessions (and
    // so transactions), advisory locks, prepared transactions. Empty when nothing is.
    std::string leftovers_at_source();
    std::uint64_t id() const { return id_; }

 private:
    bool is_lake_there() const;
    std::string difference_in(LakeReader& lake, const std::vector<std::string>& tables,
                              const std::string& schema);

    Database& source_;
    std::string publication_;
    std::uint64_t id_;
    std::uint16_t port_ = 0;  // 0: the server's own.
    std::string role_ = "postgres";
    std::string connection_;  // Empty: made of the source, port_ and role_.
    TempDir folder_;
    std::string catalog_;
    std::string data_path_ = "lake/data";
    std::vector<std::string> keys_;
    std::map<std::string, std::string> env_;
    std::unique_ptr<ChildProcess> process_;
    std::unique_ptr<LakeReader> lake_;
};

}  // namespace walbrook::testing
