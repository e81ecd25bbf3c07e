// lake_bench copy FOLDER ROWS THREADS     one table of 11 columns through write_copy
// lake_bench flush FOLDER ROWS SIZE COUNT  COUNT flushes of SIZE random-key updates
// lake_bench insert FOLDER ROWS SIZE COUNT COUNT flushes of SIZE inserted rows
//
// Measures the destination alone, with product defaults. The figures in
// docs/design/ducklake.md come from it.

#include "base/clock.h"
#include "walbrook/destinations.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <set>
#include <string>
#include <sys/resource.h>
#include <thread>
#include <vector>

namespace {

using namespace walbrook;

double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double seconds_since(Instant start) { return std::chrono::duration<double>(now() - start).count(); }

[[noreturn]] void fail(const Error& error) {
    fmt::print(stderr, "lake_bench: {}\n", error.message());
    std::exit(1);
}

void check(const Status& status) {
    if (!status) fail(status.error());
}

TableSchemaPtr orders() {
    auto schema = std::make_shared<TableSchema>();
    schema->id = {16384};
    schema->schema = "public";
    schema->name = "orders";
    const auto add = [&](const char* name, ColumnType type) {
        ColumnSchema column;
        column.name = name;
        column.attnum = static_cast<std::int16_t>(schema->columns.size() + 1);
        column.type = type;
        schema->columns.push_back(column);
    };
    add("id", {TypeKind::int64});
    schema->columns[0].key_position = 1;
    schema->columns[0].in_identity = true;
    schema->columns[0].nullable = false;
    add("customer", {TypeKind::int32});
    add("state", {TypeKind::text});
    add("title", {TypeKind::text});
    add("amount", {TypeKind::decimal, false, 12, 2});
    add("is_paid", {TypeKind::boolean});
    add("created_at", {TypeKind::timestamptz});
    add("due", {TypeKind::date});
    add("weight", {TypeKind::float64});
    add("token", {TypeKind::uuid});
    add("details", {TypeKind::json});
    return schema;
}

void append_order(RowBatch& batch, std::int64_t id, std::mt19937_64& random) {
    static constexpr const char* kStates[] = {"new", "paid", "sent", "delivered", "cancelled"};
    auto& c = batch.columns();
    const std::uint64_t r = random();
    c[0].append_fixed(id);
    c[1].append_fixed(static_cast<std::int32_t>(r % 100'000));
    c[2].append_bytes(kStates[r % 5]);
    char title[32];
    std::memcpy(title, "order 0123456789abcdef of x", 27);
    for (std::size_t i = 0; i < 16; ++i) title[6 + i] = "0123456789abcdef"[r >> (i * 4) & 15];
    c[3].append_bytes({title, 27});
    const std::int64_t amount[2] = {static_cast<std::int64_t>(r % 10'000'000), 0};
    c[4].append_fixed_bytes(amount, 16);
    c[5].append_bool((r & 1) != 0);
    c[6].append_fixed(std::int64_t{1'700'000'000'000'000} + id * 1'000'000 +
                      static_cast<std::int64_t>(r % 1'000'000));
    if (r % 10 == 0) {
        c[7].append_null();
    } else {
        c[7].append_fixed(static_cast<std::int32_t>(19'000 + r % 700));
    }
    c[8].append_fixed(static_cast<double>(r % 1'000'000) / 7.0);
    const std::uint64_t token[2] = {r, random()};
    c[9].append_fixed_bytes(token, 16);
    const std::string details = fmt::format(R"({{"items": {}, "gift": {}, "note": "n{}"}})", r % 9,
                                            (r & 2) != 0 ? "true" : "false", r % 1000);
    c[10].append_bytes(details);
}

// The same prepared batches again and again: making rows costs nothing here.
class PreparedRows : public RowReader {
 public:
    PreparedRows(const std::vector<RowBatch>& batches, std::size_t first, std::size_t last)
        : batches_(batches), at_(first), last_(last) {}
    const TableSchemaPtr& schema() const override { return batches_[0].schema(); }
    Result<const RowBatch*> next() override { return at_ == last_ ? nullptr : &batches_[at_++]; }

 private:
    const std::vector<RowBatch>& batches_;
    std::size_t at_;
    std::size_t last_;
};

class OneFlush : public Flush {
 public:
    OneFlush(std::uint64_t position, FlushItem item)
        : position_{position}, item_(std::move(item)) {}
    Lsn position() const override { return position_; }
    std::int64_t commit_time_us() const override { return unix_time_us(); }
    Result<const FlushItem*> next() override {
        return std::exchange(is_read_, true) ? nullptr : &item_;
    }
    void rewind() override { is_read_ = false; }

 private:
    Lsn position_;
    FlushItem item_;
    bool is_read_ = false;
};

std::unique_ptr<Destination> open_lake(const std::string& folder) {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder + "/work");
    auto lake = make_ducklake_destination({folder + "/lake.sqlite", folder + "/data"});
    PipelineIdentity who;
    who.pipeline_id = 1;
    who.work_dir = folder + "/work";
    if (auto recovered = lake->open(who, {}); !recovered) fail(recovered.error());
    return lake;
}

void copy(Destination& lake, const TableSchemaPtr& schema, std::size_t rows, std::size_t threads) {
    constexpr std::size_t kBatchRows = 16'384;
    std::vector<RowBatch> batches;
    std::mt19937_64 random(1);
    for (std::size_t id = 1; id <= rows; ++id) {
        if (batches.empty() || batches.back().rows() == kBatchRows) batches.emplace_back(schema);
        append_order(batches.back(), static_cast<std::int64_t>(id), random);
    }
    auto target = std::make_shared<CopyTarget>();
    target->schema = schema;
    target->attempt = 1;
    check(lake.begin_copy(target, {}));
    const double cpu = cpu_seconds();
    const Instant start = now();
    {
        std::vector<std::jthread> workers;
        for (std::size_t i = 0; i < threads; ++i) {
            workers.emplace_back([&, i] {
                PreparedRows reader(batches, batches.size() * i / threads,
                                    batches.size() * (i + 1) / threads);
                check(lake.write_copy({target, static_cast<std::uint32_t>(i)}, reader, {}));
            });
        }
    }
    const double millions = static_cast<double>(rows) / 1e6;
    fmt::print("write_copy: {:.3f} CPU-s and {:.3f} s per million rows\n",
               (cpu_seconds() - cpu) / millions, seconds_since(start) / millions);
    const Instant finish = now();
    check(lake.finish_copy(target, {}));
    fmt::print("finish_copy: {:.0f} ms\n", seconds_since(finish) * 1e3);
    OneFlush flush(100, Publish{target});
    if (auto ack = lake.apply(flush, Ack::durable, {}); !ack) fail(ack.error());
}

std::uintmax_t folder_bytes(const std::string& folder) {
    std::uintmax_t bytes = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
        if (entry.is_regular_file()) bytes += entry.file_size();
    }
    return bytes;
}

void flushes(Destination& lake, const TableSchemaPtr& schema, std::size_t rows, std::size_t size,
             std::size_t count, bool is_update) {
    std::mt19937_64 random(2);
    std::vector<double> times;
    std::vector<double> maintenance;
    std::int64_t next_id = static_cast<std::int64_t>(rows);
    const double cpu = cpu_seconds();
    double window_cpu = 0;
    for (std::size_t n = 0; n < count; ++n) {
        ChangeBatch batch(schema);
        std::set<std::int64_t> seen;
        while (batch.changes.size() < size) {
            const std::int64_t id =
                is_update ? static_cast<std::int64_t>(random() % rows) + 1 : ++next_id;
            if (!seen.insert(id).second) continue;
            Change change;
            change.kind = is_update ? ChangeKind::update : ChangeKind::insert;
            change.new_row = static_cast<std::int32_t>(batch.new_rows.rows());
            change.ordinal = batch.changes.size() + 1;
            append_order(batch.new_rows, id, random);
            batch.changes.push_back(change);
        }
        OneFlush flush(200 + n, std::move(batch));
        Instant start = now();
        const double used = cpu_seconds();
        if (auto ack = lake.apply(flush, Ack::durable, {}); !ack) fail(ack.error());
        times.push_back(seconds_since(start) * 1e3);
        window_cpu += (cpu_seconds() - used) * 1e3;
        start = now();
        if (std::getenv("NO_MAINTENANCE") == nullptr) check(lake.maintain({}));
        maintenance.push_back(seconds_since(start) * 1e3);
        if ((n + 1) % std::max<std::size_t>(count / 10, 1) == 0) {
            const auto from =
                times.end() - static_cast<std::ptrdiff_t>(std::max<std::size_t>(count / 10, 1));
            std::vector<double> last(from, times.end());
            std::sort(last.begin(), last.end());
            fmt::print("after {:6} flushes: median {:.1f} ms, 95% {:.1f} ms, {:.1f} CPU-ms\n",
                       n + 1, last[last.size() / 2], last[last.size() * 95 / 100],
                       std::exchange(window_cpu, 0.0) / static_cast<double>(last.size()));
            std::fflush(stdout);
        }
    }
    std::sort(times.begin(), times.end());
    std::sort(maintenance.begin(), maintenance.end());
    fmt::print(
        "{} {}: median {:.1f} ms, 95% {:.1f} ms, max {:.1f} ms; maintain max {:.1f} ms; "
        "{:.1f} CPU-ms a flush\n",
        size, is_update ? "updates" : "inserts", times[times.size() / 2],
        times[times.size() * 95 / 100], times.back(), maintenance.back(),
        (cpu_seconds() - cpu) * 1e3 / static_cast<double>(count));
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    const bool is_copy = arguments.size() == 4 && arguments[0] == "copy";
    const bool is_flush =
        arguments.size() == 5 && (arguments[0] == "flush" || arguments[0] == "insert");
    if (!is_copy && !is_flush) {
        fmt::print(stderr,
                   "usage: lake_bench copy FOLDER ROWS THREADS | flush|insert FOLDER ROWS "
                   "SIZE COUNT\n");
        return 64;
    }
    const std::string& folder = arguments[1];
    const std::size_t rows = std::stoull(arguments[2]);
    const TableSchemaPtr schema = orders();
    auto lake = open_lake(folder);
    copy(*lake, schema, rows, is_copy ? std::stoull(arguments[3]) : 2);
    fmt::print("data: {:.1f} MB\n", static_cast<double>(folder_bytes(folder + "/data")) / 1e6);
    if (is_flush) {
        flushes(*lake, schema, rows, std::stoull(arguments[3]), std::stoull(arguments[4]),
                arguments[0] == "flush");
    }
    check(lake->close());
    return 0;
}
