#pragma once

#include "walbrook/config.h"
#include "walbrook/destination.h"
#include "walbrook/result.h"
#include "walbrook/store.h"

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace walbrook {

enum class LogLevel { debug, info, warn, error };

// One line of the log: a sentence and its fields, already free of secrets.
struct LogRecord {
    LogLevel level = LogLevel::info;
    std::string message;
    std::vector<std::pair<std::string, std::string>> fields;
};
// Called from any thread, one call at a time. Empty: nothing is logged.
using LogSink = std::function<void(const LogRecord&)>;

// How one table stands.
struct TableStatus {
    TableId table;
    std::string schema;
    std::string name;
    TablePhase phase = TablePhase::queued;
    std::uint64_t rows_copied = 0;      // Of the present or last copy.
    std::uint64_t rows_estimated = 0;   // What the copy expects, by the source's statistics.
    std::uint64_t changes_applied = 0;  // Row changes since the start.
    std::uint64_t held_bytes = 0;       // Changes that wait for the copy.
    bool paused = false;
    std::string reason;  // Why errored, or what it waits for.
    std::string remedy;
    std::uint32_t copies = 0;  // How many have begun; kept over restarts.
};

// A consistent picture of a running pipeline.
struct PipelineStatus {
    // starting, streaming, reconnecting (to the source), retrying (a flush that the destination
    // refused, or what the store did not take), draining, stopped
    std::string state;
    Lsn received, durable, confirmed, source_end;
    std::uint64_t lag_bytes = 0;  // source_end - durable.
    std::int64_t lag_ms = 0;      // Age of the oldest change that is not durable.
    std::uint64_t changes_received = 0;
    std::uint64_t flushes = 0;
    std::uint64_t transactions = 0;
    std::uint64_t memory_bytes = 0;        // In batches.
    std::string memory_state;              // ample, paused (nothing is read), scarce (small steps)
    std::uint64_t memory_limit_bytes = 0;  // Of the container or the machine, or as asked for.
    std::uint64_t memory_used_bytes = 0;   // Of the container or the process, at the last look.
    std::uint64_t memory_short_ms = 0;     // How long it was not ample, since the start.
    std::uint64_t memory_short_times = 0;  // And how often.
    std::vector<std::string> problems;     // What an operator should look at.
    std::vector<TableStatus> tables;
};

// What an operator asks for single tables while the pipeline runs.
enum class TableCommand {
    resync,  // Copy them again, beside what readers see until the new copy is complete.
    pause,   // They stand still and stay readable; a copy that is under way is given up.
    resume,  // They are copied again, and go on.
};

// Rows of a table that are to be as they are at the source, by their keys.
struct RowRepair {
    TableId table;
    // Of each row the values of TableSchema::key_columns(), as Postgres prints them (under the
    // settings of destinations.md: DateStyle ISO, TimeZone UTC …).
    std::vector<std::vector<std::string>> keys;
};
struct RowRepairs {
    Lsn position;  // As the answer of cut(), with the rows put right.
    std::vector<std::pair<TableId, std::string>> refused;  // Tables that were left, and why.
};

struct PipelineOptions {
    LogSink log;
    // End by itself once every table is ready or errored and all that was committed
    // at the source before the start is durable.
    bool until_caught_up = false;
    // What counts as all memory for the budget and for backpressure; 0: the limit of the
    // container, else the memory of the machine. For programs that do other things, too.
    std::uint64_t memory_limit_bytes = 0;
};

// Copies the tables of a publication, then follows them. Several may run in one
// process. Installs no signal handler and keeps no global state.
class Pipeline {
 public:
    // Checks everything that can be checked without changing the source or the
    // destination: configuration, reachability, wal_level, the publication, names.
    static Result<std::unique_ptr<Pipeline>> create(PipelineConfig config,
                                                    std::unique_ptr<Store> store,
                                                    std::unique_ptr<Destination> destination,
                                                    PipelineOptions options = {});
    // Returns when the workers run.
    virtual Status start() = 0;
    // Until shutdown(), the end of until_caught_up, or an error that retrying cannot
    // heal. Ok also when tables are errored: see status().
    virtual Status wait() = 0;
    // Drains what was received and stops. Thread-safe, returns at once.
    virtual void shutdown() = 0;
    // Thread-safe.
    virtual PipelineStatus status() const = 0;
    // For tables by name ("public.orders") or pattern ("audit.*"); none: all. Returns their names
    // once it is stored; what it asks for then happens by itself. Thread-safe, after start().
    // ErrorCode::config when one of the names or patterns has no table.
    virtual Result<std::vector<std::string>> command(TableCommand what,
                                                     const std::vector<std::string>& tables) = 0;

    // For whoever compares source and destination (`walbrook verify`): a moment at which the
    // destination holds exactly what a position of the source names. Thread-safe, after start();
    // one cut at a time: whoever asks later takes it from whoever asked before.
    //
    // Reads no further transactions for so long, or until cut(): so that a position can be named
    // that the stream has not passed. Returns at once.
    virtual Status hold_for_cut(std::chrono::milliseconds at_most) = 0;
    // Waits until all that committed before `at` is durable in the destination and nothing else
    // is, and goes on. The answer is the position under which the destination has it.
    // ErrorCode::aborted: the stream had passed it already, or the connection broke: name another
    // one. ErrorCode::timed_out: it goes on, too.
    virtual Result<Lsn> cut(Lsn at, std::chrono::milliseconds at_most) = 0;
    // As cut() at the position of an exported snapshot, with which source and destination then
    // agree about these rows: they are read in the snapshot, of this name, and take the place of
    // whatever the destination has under their keys. For tables with a key that are ready.
    virtual Result<RowRepairs> repair(Lsn at, const std::string& snapshot,
                                      const std::vector<RowRepair>& rows,
                                      std::chrono::milliseconds at_most) = 0;
    // What the destination shows at this position, it can show for so long, whatever it thins.
    virtual Status keep_readable(Lsn position, std::chrono::milliseconds how_long) = 0;

    // Stops without draining if it still runs.
    virtual ~Pipeline() = default;
};

}  // namespace walbrook
