// Streaming a backlog: 1.3 million row changes of the mixed table (1 M inserts in 100
// transactions, 200 k updates and 100 k deletes in one each), to `blackhole` and to
// DuckLake, against a bare binary pgoutput reader on the same backlog. Each reading begins
// at a copy of the same slot and of the same state.
//
//   backlog_bench [THOUSAND_INSERTS [PAIRS]]

#include "bench.h"
#include "support/eventually.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

using namespace walbrook;
using namespace walbrook::bench;

namespace {

constexpr const char* kSaved = "bench_saved";

class Backlog {
 public:
    explicit Backlog(testing::Database& database) : database_(database) {}

    void make(long thousands) {
        for (int i = 0; i < 100; ++i) {
            const long step = thousands * 10;
            database_.exec("insert into item " + mixed_rows(std::to_string(i * step + 1),
                                                            std::to_string((i + 1) * step)));
        }
        database_.exec(
            fmt::format("update item set quantity = quantity + 1, paid = not paid "
                        "where id <= {}",
                        thousands * 200));
        database_.exec(fmt::format("delete from item where id > {}", thousands * 900));
        changes_ = static_cast<double>(thousands) * 1300;
        end_ = database_.lsn();
    }
    // A walsender outlives its client by a moment.
    void drop(const std::string& slot) {
        const std::string from = "from pg_replication_slots where slot_name = '" + slot + "'";
        (void)testing::eventually(
            [&] { return database_.value("select count(*) " + from + " and active") == "0"; });
        database_.exec("select pg_drop_replication_slot(slot_name) " + from);
    }
    // Puts `slot` back to where the backlog begins.
    void rewind(const std::string& slot) {
        drop(slot);
        database_.exec(
            fmt::format("select pg_copy_logical_replication_slot('{}', '{}')", kSaved, slot));
    }
    Run read_bare() {
        rewind("bare");
        Run run = bare_stream(database_.url(), "bare", "bench", end_);
        drop("bare");
        return run;
    }
    double changes() const { return changes_; }

 private:
    testing::Database& database_;
    double changes_ = 0;
    Lsn end_;
};

void measure(testing::Database& database, Replica::Kind kind, long thousands, int pairs) {
    const bool is_lake = kind == Replica::Kind::ducklake;
    const std::string name = is_lake ? "ducklake" : "blackhole";
    create_mixed_table(database, "item");
    database.exec("create publication bench for table item");
    Replica replica(database, kind);
    replica.catch_up();
    replica.save();
    database.exec(
        fmt::format("select pg_copy_logical_replication_slot('{}', '{}')", replica.slot(), kSaved));
    Backlog backlog(database);
    backlog.make(thousands);
    std::vector<double> bare, ours, ratios, cpu;
    backlog.read_bare();  // Warms the cache.
    for (int i = 0; i < pairs; ++i) {
        bare.push_back(backlog.read_bare().seconds);
        backlog.rewind(replica.slot());
        replica.restore();
        const Run run = replica.catch_up();
        if (is_lake) replica.expect_equal("item");
        ours.push_back(run.seconds);
        ratios.push_back(bare.back() / run.seconds);
        cpu.push_back(run.cpu_seconds * 1e6 / backlog.changes());
        fmt::print(
            "{} pair {}: bare {:.2f} s, walbrook {:.2f} s (ratio {:.2f}), {:.2f} us CPU per "
            "change, {:.0f} MiB{}\n",
            name, i + 1, bare.back(), run.seconds, ratios.back(), cpu.back(), run.rss_mib_max,
            is_lake ? "; lake equal" : "");
        std::fflush(stdout);
    }
    fmt::print(
        "backlog to {}, medians: bare {:.2f} s, walbrook {:.2f} s, of the bare reader {:.2f} "
        "(at least {}), {:.2f} us CPU per change{}\n",
        name, median(bare), median(ours), median(ratios), is_lake ? "0.75" : "0.95", median(cpu),
        is_lake ? "" : " (at most 1.5)");
    backlog.drop(replica.slot());
    backlog.drop(kSaved);
    database.exec("drop publication bench; drop table item");
}

}  // namespace

int main(int argc, char** argv) {
    const long thousands = argc > 1 ? std::atol(argv[1]) : 1000;
    const int pairs = argc > 2 ? std::atoi(argv[2]) : 5;
    try {
        const auto cluster = start_server();
        testing::Database database(*cluster);
        print_machine(database);
        measure(database, Replica::Kind::blackhole, thousands, pairs);
        if (argc < 4) measure(database, Replica::Kind::ducklake, thousands, pairs);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "backlog_bench: %s\n", error.what());
        return 1;
    }
}
