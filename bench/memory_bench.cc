// Memory (VmHWM at exit, product defaults): a copy of 10 million rows, one transaction of 5
// million rows, 1 million changes held during a copy; an idle pipeline's memory, CPU and start.
// During the copies, under traffic, the slot's lag and another table's are sampled every
// second; one of 60 million rows over one connection takes minutes.
//
//   memory_bench [SCALE]     1: the sizes above; 0.1: a tenth of them

#include "bench.h"
#include "integration/lake_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <unistd.h>

using namespace walbrook;
using namespace walbrook::bench;

namespace {

using std::chrono::milliseconds;
using testing::must_exec;

// As text in SQL.
std::string million(double scale, double millions) {
    return std::to_string(static_cast<long>(scale * millions * 1e6));
}

double mib(const testing::ChildExit& exit) { return static_cast<double>(exit.rss_kib_max) / 1024; }

void drop(testing::Database& database, const Replica& replica) {
    database.exec(
        fmt::format("select pg_drop_replication_slot('{}'); drop publication bench; "
                    "drop table item; drop table if exists clock",
                    replica.slot()));
}

// Bytes from the slot's confirmed position to the end of the log.
struct Lag {
    double first_half_minute = 0, later = 0, table_ms = 0;
    int samples = 0;
};

void copy_under_traffic(testing::Database& database, double millions, unsigned connections) {
    create_mixed_table(database, "item");
    for (double from = 0; from < millions; from += 10) {
        const double to = std::min(from + 10, millions);
        database.exec("insert into item " + mixed_rows(million(from, 1) + " + 1", million(to, 1)));
        database.exec("checkpoint");  // Or the log fills the disk.
    }
    database.exec("vacuum (freeze, analyze) item");
    database.exec(
        "create table clock(id int primary key, made timestamptz not null);"
        "insert into clock values (1, now());"
        "create publication bench for table clock, item");
    Replica replica(database, Replica::Kind::ducklake,
                    {fmt::format("max_copy_connections_per_table: {}", connections)});
    std::atomic<bool> done = false;
    // Traffic: small changes to the table that is copied and to another one.
    std::thread traffic([&] {
        auto session = database.session();
        long key = 1;
        while (!done) {
            must_exec(session, fmt::format("update item set quantity = quantity + 1 where id = {}; "
                                           "update clock set made = clock_timestamp()",
                                           key));
            key = key % 10'000 + 7;
            std::this_thread::sleep_for(milliseconds(5));
        }
    });
    const auto from = std::chrono::steady_clock::now();
    const auto seconds = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
    };
    replica.start();
    Lag lag;
    std::unique_ptr<testing::LakeReader> reader;
    double copied_after = 0;
    while (seconds() < 1800) {
        std::this_thread::sleep_for(milliseconds(1000));
        const std::string bytes = database.value(
            "select coalesce(max(pg_current_wal_lsn() - confirmed_flush_lsn), 0) from "
            "pg_replication_slots where slot_name = '" +
            replica.slot() + "'");
        double& worst = seconds() < 30 ? lag.first_half_minute : lag.later;
        worst = std::max(worst, std::stod(bytes) / (1 << 20));
        ++lag.samples;
        try {
            if (!reader) reader = std::make_unique<testing::LakeReader>(replica.catalog());
            if (reader->has_table("public", "clock")) {
                const double at =
                    std::stod(reader->value("select epoch_us(max(made)) from lake.public.clock")) /
                    1e3;
                const double age =
                    static_cast<double>(std::chrono::duration_cast<milliseconds>(
                                            std::chrono::system_clock::now().time_since_epoch())
                                            .count()) -
                    at;
                if (seconds() > 30 || lag.samples > 10) lag.table_ms = std::max(lag.table_ms, age);
            }
            if (reader->has_table("public", "item")) {
                copied_after = seconds();
                break;
            }
        } catch (const std::exception&) {
            reader.reset();  // The catalog is only being made.
        }
        if (!replica.process().is_running()) throw std::runtime_error(replica.process().output());
    }
    done = true;
    traffic.join();
    replica.wait_until_caught_up(database);
    reader.reset();
    const auto exit = replica.stop();
    replica.expect_equal("item");
    fmt::print(
        "copy of {} rows by {} connections under traffic: {:.0f} MiB (under 600), visible after "
        "{:.0f} s; "
        "slot lag at most {:.1f} MiB in the first 30 s, {:.1f} MiB later (under 64), another "
        "table at most {:.0f} ms behind (under 3000), {} samples; lake equal\n",
        million(millions, 1), connections, mib(exit), copied_after, lag.first_half_minute,
        lag.later, lag.table_ms, lag.samples);
    std::fflush(stdout);
    drop(database, replica);
}

void large_transaction(testing::Database& database, double scale) {
    create_mixed_table(database, "item");
    database.exec("create publication bench for table item");
    Replica replica(database, Replica::Kind::ducklake);
    replica.catch_up();
    replica.start();
    database.exec("insert into item " + mixed_rows("1", million(scale, 5)));
    replica.wait_until_caught_up(database);
    const auto exit = replica.stop();
    replica.expect_equal("item");
    fmt::print("one transaction of {} rows: {:.0f} MiB (under 600); lake equal\n",
               million(scale, 5), mib(exit));
    std::fflush(stdout);
    drop(database, replica);
}

// A writer that does not end keeps the copy from taking its snapshot, until the changes have
// been made. It has a lock and no xid yet: the slot's creation would wait for that.
void held_changes(testing::Database& database, double scale) {
    create_mixed_table(database, "item");
    database.exec("insert into item " + mixed_rows("1", million(scale, 1)));
    database.exec("vacuum (freeze, analyze) item");
    database.exec("create publication bench for table item");
    Replica replica(database, Replica::Kind::ducklake, {"max_copy_connections_per_table: 1"});
    auto writer = database.session();
    must_exec(writer, "begin; lock table item in row exclusive mode");
    replica.start();
    const bool copies = [&] {
        for (int i = 0; i < 600; ++i) {
            if (replica.status().find("copying") != std::string::npos) return true;
            std::this_thread::sleep_for(milliseconds(50));
        }
        return false;
    }();
    if (!copies)
        throw std::runtime_error("the copy does not begin:\n" + replica.process().output());
    database.exec("update item set quantity = quantity + 1 where id > 0");
    const auto held_bytes = [&] {
        const std::string status = replica.status();
        const std::size_t at = status.find("held_bytes\":");
        return at == std::string::npos ? 0L : std::atol(status.c_str() + at + 12);
    };
    long held = 0;
    for (int i = 0; i < 60; ++i) {
        std::this_thread::sleep_for(milliseconds(2000));
        const long seen = held_bytes();
        if (seen > 0 && seen == held) break;
        held = seen;
    }
    must_exec(writer, "commit");
    for (int i = 0; i < 6000 && replica.status().find("\"ready\"") == std::string::npos; ++i) {
        std::this_thread::sleep_for(milliseconds(50));
    }
    replica.wait_until_caught_up(database);
    const auto exit = replica.stop();
    replica.expect_equal("item");
    fmt::print("{} changes ({} MiB) held during a copy: {:.0f} MiB (under 600); lake equal\n",
               million(scale, 1), held >> 20, mib(exit));
    std::fflush(stdout);
    drop(database, replica);
}

void idle(testing::Database& database) {
    create_mixed_table(database, "item");
    database.exec("insert into item " + mixed_rows("1", "1000"));
    database.exec("create publication bench for table item");
    Replica replica(database, Replica::Kind::ducklake);
    replica.catch_up();
    const auto from = std::chrono::steady_clock::now();
    replica.start();
    while (replica.process().is_running() &&
           replica.process().output().find("\"streaming\"") == std::string::npos &&
           replica.process().output().find("streaming") == std::string::npos) {
        std::this_thread::sleep_for(milliseconds(5));
    }
    const double start_s =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
    const auto read = [&](const std::string& file, const std::string& key) {
        std::ifstream in("/proc/" + std::to_string(replica.process().pid()) + "/" + file);
        std::string word;
        while (in >> word && word != key) {
        }
        double value = 0;
        in >> value;
        return value;
    };
    const auto cpu_ticks = [&] {
        std::ifstream in("/proc/" + std::to_string(replica.process().pid()) + "/stat");
        std::string word;
        double ticks = 0;
        for (int i = 1; i <= 15 && in >> word; ++i) {
            if (i >= 14) ticks += std::stod(word);
        }
        return ticks;
    };
    std::this_thread::sleep_for(std::chrono::seconds(5));
    const double before = cpu_ticks();
    std::this_thread::sleep_for(std::chrono::seconds(30));
    const double used = (cpu_ticks() - before) / static_cast<double>(sysconf(_SC_CLK_TCK));
    const double rss = read("status", "VmRSS:") / 1024;
    replica.stop();
    fmt::print(
        "idle: {:.0f} MiB (under 150), {:.2f} % CPU (under 1), start to streaming {:.2f} s "
        "(under 2)\n",
        rss, used / 30 * 100, start_s);
    drop(database, replica);
}

}  // namespace

int main(int argc, char** argv) {
    const double scale = argc > 1 ? std::atof(argv[1]) : 1;
    const std::string only = argc > 2 ? argv[2] : "";
    try {
        const auto cluster = start_server();
        testing::Database database(*cluster);
        print_machine(database);
        if (only.empty() || only == "idle") idle(database);
        if (only.empty() || only == "held") held_changes(database, scale);
        if (only.empty() || only == "transaction") large_transaction(database, scale);
        if (only.empty() || only == "copy") copy_under_traffic(database, scale * 10, 4);
        // Minutes long.
        if (only.empty() || only == "long") copy_under_traffic(database, scale * 60, 1);
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "memory_bench: %s\n", error.what());
        return 1;
    }
}
