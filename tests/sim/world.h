#pragma once

#include "pipeline/apply_core.h"
#include "pipeline/start_plan.h"
#include "sim/coverage.h"
#include "sim/lake.h"
#include "sim/random.h"
#include "sim/source.h"
#include "sim/store.h"
#include "sim/walsender.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace walbrook::sim {

struct WorldOptions {
    std::uint64_t seed = 0;
    Bug bug = Bug::none;
    bool trace = false;  // Every step to stderr.
    std::string spill_directory;
};

// A source, a process that may die, and a lake that survives it. Chance decides who takes
// the next step; after every step that lands in the lake it is compared with the source.
class World {
 public:
    explicit World(const WorldOptions& options);
    ~World();

    // Throws Violation.
    void run();
    const Coverage& coverage() const { return coverage_; }
    // Of all that happened, in its order: the same for the same seed.
    std::uint64_t digest() const { return digest_; }

 private:
    struct Rates {
        std::uint64_t crash_per_mille = 0;
        std::uint64_t disconnect_per_mille = 0;
        std::uint64_t server_per_mille = 0;  // It crashes, or another one takes over.
        std::uint64_t slot_per_mille = 0;    // Somebody else moves it, or makes it anew.
        std::uint64_t command_per_mille = 0;
        std::uint64_t give_up_per_mille = 0;
        std::uint64_t memory_per_mille = 0;
        std::uint64_t store_per_mille = 0;  // Does not take what it is given, or does not answer.
        std::uint64_t cut_weight = 0;
        std::uint64_t source_weight = 30;
        std::uint64_t deliver_weight = 25;
        std::uint64_t writer_weight = 15;
        LakeFaults lake;
    };
    // What the server keeps of us, and what a standby knows of that.
    struct SlotModel {
        bool exists = false;
        bool is_lost = false;
        Lsn confirmed;
        Lsn persisted;  // Of `confirmed`: the rest is lost in a crash.
    };
    // What was done to a table that it may stand still for.
    struct Excuses {
        bool is_paused = false;        // By the operator.
        bool is_asked_for = false;     // What he just asks for ends what was before.
        std::uint64_t refusals = 0;    // By the lake, of which none has made it errored yet.
        std::uint64_t unreadable = 0;  // Values that were sent, likewise.
        std::uint64_t failures = 0;    // How often it was errored since it was published.
        TableState seen;               // Stored last.
        // What was before the state that was stored last, if whoever stored that has not heard so
        // and goes on from before, unless the process ends.
        struct Unheard {
            TableState seen;
            std::uint64_t refusals = 0;
            std::uint64_t unreadable = 0;
            std::uint64_t failures = 0;
        };
        std::optional<Unheard> unheard;
    };
    // What dies in a crash.
    struct Process;

    void choose_rates();
    void start();
    bool start_once();
    bool dies_while_starting();
    std::string slot_loss(Lsn recovered, bool has_data);
    void make_slot();
    bool freeze(FaultyLake& lake, const std::vector<ReadyTable>& tables, Lsn position);
    void refuse(const std::string& why);
    void begin_anew();
    void crash();
    void step();
    void settle();
    bool is_settled() const;

    void connect();
    void disconnect();
    // What the destination and the process have ends here: where the lake stands, or is to stand
    // soon, or the last transaction that came. Not what only keepalives told of.
    Lsn has() const;
    void harm_server();
    void harm_slot();
    void command();
    void resync(TableId table);
    void resume(TableId table);
    void request_copy(TableId table, const std::string& reason);
    void replicate();
    Lsn sent_up_to() const;
    void deliver(std::uint64_t messages);
    void change_memory();
    void tick(std::int64_t ms);
    void take_inputs();
    void settle_stopped();
    void store_versions();
    void write();
    void confirm();
    void ask_for_cut();
    void feed(const CoreInput& input);
    void trace_news(const CoreInput& input);
    void act(CoreAction& action);

    void check_lake();
    void check_table(std::size_t table, const Rows& rows, const Version& version, Lsn position,
                     bool is_whole = false);
    void check_whole(std::size_t table);
    void check_bank();
    void check_cut(Lsn position);
    std::vector<Replace> some_repairs(Lsn cut);
    void check_confirmed();
    void check_positions();
    void check_state(const TableState& next, bool is_heard);
    void check_change(const TableState& before, const TableState& next);
    void check_errored(const TableState& next);
    bool excuse(std::size_t table, const std::string& reason);
    bool waits_for_operator(std::size_t table) const;
    bool waits_by_policy(std::size_t table, const std::string& reason) const;
    std::vector<MemoryDestination::Row> lake_rows(std::size_t table) const;
    void note(std::uint64_t what) { digest_ = (digest_ ^ what) * 0x100'0000'01B3ULL; }
    template <class... Args>
    void trace(fmt::format_string<Args...> format, Args&&... args);

    const WorldOptions options_;
    Random random_;
    Coverage coverage_;
    Rates rates_;
    CoreOptions core_options_;
    WalsenderOptions walsender_options_;
    bool recreates_slot_ = true;  // invalidated_slot_behavior
    bool has_failover_slot_ = false;
    std::optional<Source> source_;
    FaultyStore store_;
    std::shared_ptr<MemoryLake> lake_;
    LakeView view_;
    MemoryState memory_ = MemoryState::ample;
    std::unique_ptr<Process> process_;
    std::unique_ptr<Walsender> walsender_;
    SlotModel slot_;
    Lsn standby_;         // What it has replayed,
    Lsn standby_synced_;  // and where our slot stood then.
    std::int64_t now_ms_ = 0;
    bool faults_ = true;
    bool is_paused_for_cut_ = false;
    std::optional<Lsn> cut_at_;  // What a snapshot of the source names, and the lake is to have.
    // The last one that was reached, and as what: who comes later has a later position.
    Lsn last_cut_at_;
    Lsn last_cut_;
    // The end of the first transaction that the process has and the present server never had, if
    // there is one: it must notice.
    Lsn lost_from_;
    // Behind it the present server's log is another one than the server's to which the process was
    // connected last: until it connects again it may still publish a copy there, with or without
    // rows that the present server never had, and must not go on from it.
    Lsn gone_from_;
    std::array<bool, kTables> is_foreign_{};  // What is visible of the table is of such a server.
    std::array<Excuses, kTables> excuses_;

    // The source as of view_.position.
    std::array<Rows, kTables> rows_;
    std::size_t next_commit_ = 0;
    std::uint64_t digest_ = 0xCBF2'9CE4'8422'2325ULL;
};

template <class... Args>
void World::trace(fmt::format_string<Args...> format, Args&&... args) {
    if (!options_.trace) return;
    fmt::print(stderr, "{:>7} ", now_ms_);
    fmt::print(stderr, format, std::forward<Args>(args)...);
    fmt::print(stderr, "\n");
}

}  // namespace walbrook::sim
