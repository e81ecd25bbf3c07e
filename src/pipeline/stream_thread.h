#pragma once

#include "pipeline/apply_core.h"
#include "pipeline/parts.h"
#include "pipeline/store_patience.h"
#include "pipeline/version_queue.h"
#include "postgres/slots.h"
#include "source/replication_stream.h"
#include "source/timeline.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace walbrook {

// Numbers of the stream for status and metrics; written by the stream thread.
struct StreamCounters {
    std::atomic<std::uint64_t> received{0};
    std::atomic<std::uint64_t> durable{0};
    std::atomic<std::uint64_t> confirmed{0};
    std::atomic<std::uint64_t> source_end{0};
    std::atomic<std::uint64_t> changes{0};
    std::atomic<std::uint64_t> transactions{0};
    std::atomic<std::uint64_t> memory_bytes{0};
    std::atomic<std::int64_t> oldest_waiting_us{0};
    std::atomic<bool> idle{false};
    std::atomic<const char*> state{"starting"};
};

struct StreamSettings {
    CoreOptions core;
    std::vector<ReadyTable> ready;
    bool binary = false;
    // The system that the position belongs to; another one behind the same address
    // stops the pipeline.
    Lineage lineage;
    std::chrono::milliseconds wal_sender_timeout{0};  // The server's; 0: none.
};

// Owns the core and the replication connection: reads frames, hands them to the core,
// does what it asks for, answers the server in time whatever else waits.
class StreamThread {
 public:
    StreamThread(Parts& parts, StreamSettings settings);
    ~StreamThread();

    void start();
    // Stops reading, waits until everything received is durable and confirmed, ends.
    void drain();
    // Asks the server where it is until the stream has passed this position.
    void want(Lsn position);
    // Ends at once.
    void stop();
    void join();

    // From the writer thread: the flush in flight is done.
    void on_flush_done(FlushOutcome outcome);
    const StreamCounters& counters() const { return counters_; }
    // Why the source is not streamed from at the moment; empty: it is. Thread-safe.
    std::string trouble() const;
    // Why nothing goes on until the store takes what it was given; empty: it does. Thread-safe.
    std::string store_trouble() const { return versions_.trouble(); }
    // What else it does not take: that holds up single tables, or what the source may forget.
    // Thread-safe.
    std::vector<std::string> lesser_store_troubles() const;

 private:
    enum class End { stopped, drained, reconnect };

    struct Server {
        Connection connection;  // For replication.
        SystemIdentity system;
        Timeline timeline;
        std::string start;  // Of its postmaster: tells servers apart that have the same data.
        bool is_standby = false;
    };

    void work();
    Result<Server> open(const Deadline& deadline) const;
    Status connect();
    bool was_promoted_under_us(const Server& server) const;
    // ErrorCode::corrupt_state where its log is another one than was followed.
    Result<Lsn> shared_log(Server& server, const Deadline& deadline) const;
    Status save_timeline(const Timeline& timeline, Lsn shared_until);
    void note_promotion();
    void set_trouble(std::string text);
    Status stream(End& end);
    Status read_frames();
    void take_inputs();
    void step(const CoreInput& input);
    void act(CoreAction& action);
    void tick();
    void settle_stopped();
    void settle_forgotten();
    void note_store(StorePatience& patience, const Status& status);
    void store_versions();
    bool jumps_to_publication();
    bool wants_frames() const;
    Status confirm();
    // An error when the server says nothing for too long.
    Status watch_silence();
    Status send_status(bool ask_reply);
    void wait_for_work();
    void update_counters();
    void show_holds();
    bool is_drained() const;
    bool waits_for_position() const;

    Parts& parts_;
    StreamSettings settings_;
    ApplyCore core_;
    std::unique_ptr<ReplicationStream> stream_;
    std::vector<CoreAction> actions_;
    std::deque<CoreInput> waiting_;              // Inputs that need a transaction boundary.
    std::vector<action::TableStopped> stopped_;  // Whose phase is not stored yet.
    VersionQueue versions_;                      // That the store does not have yet.
    std::vector<action::SubmitFlush> flushes_;   // That wait for versions_.
    std::vector<TableId> forgotten_;             // That the store still has.
    StorePatience phases_patience_;              // Of stopped_,
    StorePatience removals_patience_;            // of forgotten_,
    StorePatience positions_patience_;           // and of confirm().
    std::optional<Error> failed_;
    bool wants_new_stream_ = false;    // The connection ends for that.
    bool misses_publication_ = false;  // It ended for that.

    std::chrono::milliseconds silence_max_;
    const std::chrono::milliseconds status_interval_;
    mutable std::mutex trouble_mutex_;  // Guards trouble_.
    std::string trouble_;

    Lsn confirmed_;      // What the server heard, since the start of the process.
    Lsn confirm_bound_;  // What the store holds, or less.
    Lineage lineage_;    // Of the server at the last connection.
    Lsn server_end_;     // Of the last keepalive.
    // Of the server at the last connection: when it was started, and whether it was a standby.
    std::string server_start_;
    bool at_standby_ = false;
    std::uint64_t turns_ = 0;      // CatalogWatch::turns() then,
    std::uint64_t shutdowns_ = 0;  // and its shutdowns().
    Instant last_status_{};
    Instant heard_{};  // When the server last said something, or we did not listen.
    Instant last_held_report_{};
    MemoryState memory_told_ = MemoryState::ample;  // What the core knows.
    bool holds_shown_ = false;
    Instant last_idle_bound_{};
    bool frames_came_ = false;  // Since the last wait.
    bool reply_due_ = false;

    std::atomic<bool> draining_{false};
    std::atomic<std::uint64_t> wanted_{0};
    bool cut_for_drain_ = false;
    std::stop_source stop_;
    StreamCounters counters_;
    std::jthread thread_;
};

}  // namespace walbrook
