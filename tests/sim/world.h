#pragma once

#include "pipeline/apply_core.h"
#include "sim/copier.h"
#include "sim/lake.h"
#include "sim/random.h"
#include "sim/source.h"
#include "sim/walsender.h"
#include "sim/writer.h"
#include "walbrook/destinations.h"

#include <fmt/format.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace walbrook::sim {

// What the runs came to, so that a test can see that nothing was left untried.
struct Coverage {
    std::uint64_t transactions = 0;
    std::uint64_t flushes = 0;
    std::uint64_t slices = 0;
    std::uint64_t published = 0;
    std::uint64_t published_in_ranges = 0;
    std::uint64_t moves_lost = 0;  // Copies in ranges that had to have one snapshot.
    std::uint64_t copies_lost = 0;
    std::uint64_t tables_stopped = 0;
    std::uint64_t refused = 0;
    std::uint64_t crashes = 0;
    std::uint64_t disconnects = 0;
    std::uint64_t streamed = 0;
    std::uint64_t stream_aborts = 0;
    std::uint64_t truncates = 0;
    std::uint64_t cuts = 0;
    std::uint64_t cuts_lost = 0;
    std::uint64_t repaired_rows = 0;  // Asked for.
    void add(const Coverage& other);
};

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

 private:
    struct Rates {
        std::uint64_t crash_per_mille = 0;
        std::uint64_t disconnect_per_mille = 0;
        std::uint64_t give_up_per_mille = 0;
        std::uint64_t memory_per_mille = 0;
        std::uint64_t cut_weight = 0;
        std::uint64_t source_weight = 30;
        std::uint64_t deliver_weight = 25;
        std::uint64_t writer_weight = 15;
        WriterFaults writer;
    };
    // What dies in a crash.
    struct Process;

    void choose_rates();
    void start();
    void crash();
    void step();
    void settle();
    bool is_settled() const;

    void connect();
    void disconnect();
    void deliver(std::uint64_t messages);
    void change_memory();
    void tick(std::int64_t ms);
    void take_inputs();
    void answer_question();
    void write();
    void confirm();
    void ask_for_cut();
    void feed(const CoreInput& input);
    void act(CoreAction& action);

    void check_lake();
    void check_table(std::size_t table, const Rows& rows, Lsn position);
    void check_bank();
    void check_cut(Lsn position);
    std::vector<Replace> some_repairs(Lsn cut);
    void check_confirmed();
    void check_positions();
    Rows rows_at(std::size_t table, Lsn position) const;
    std::vector<MemoryDestination::Row> lake_rows(std::size_t table) const;
    CoreInput walsender_keepalive() const;
    template <class... Args>
    void trace(fmt::format_string<Args...> format, Args&&... args);

    const WorldOptions options_;
    Random random_;
    Rates rates_;
    CoreOptions core_options_;
    WalsenderOptions walsender_options_;
    std::optional<Source> source_;
    std::shared_ptr<MemoryLake> lake_;
    LakeView view_;
    MemoryState memory_ = MemoryState::ample;
    Registry registry_{};
    std::unique_ptr<Process> process_;
    std::unique_ptr<Walsender> walsender_;
    Lsn confirmed_;  // What the slot keeps.
    std::int64_t now_ms_ = 0;
    bool faults_ = true;
    bool is_paused_for_cut_ = false;
    std::optional<Lsn> cut_at_;  // What a snapshot of the source names, and the lake is to have.
    // The last one that was reached, and as what: who comes later has a later position.
    Lsn last_cut_at_;
    Lsn last_cut_;

    // The source as of view_.position.
    std::array<Rows, kTables> rows_;
    std::size_t next_commit_ = 0;
    Coverage coverage_;
};

}  // namespace walbrook::sim
