#include "pipeline/table_copy.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/failpoints.h"
#include "decode/type_table.h"
#include "pipeline/catalog_look.h"
#include "pipeline/catalog_watch.h"
#include "pipeline/error_policy.h"
#include "pipeline/flush_wait.h"
#include "pipeline/remedies.h"
#include "pipeline/source_check.h"
#include "pipeline/table_selection.h"
#include "postgres/missing_rights.h"
#include "postgres/publication_members.h"
#include "postgres/slots.h"
#include "postgres/table_content.h"
#include "postgres/writers.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>

namespace walbrook {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kQueryDeadline{60};
constexpr milliseconds kWriterPoll{50};
// A server that does not flush for so long hangs with every commit: the copy is worth less than
// what its snapshot holds back.
constexpr std::chrono::minutes kFlushDeadline{10};
// Of a standby, which waits for every transaction of the primary and for a record of it.
constexpr std::chrono::minutes kStandbySnapshotDeadline{10};

// A unit becomes one file: large enough to be worth one, small enough that all
// connections end at about the same time.
constexpr std::uint64_t kUnitBlocksMin = 1024;    // 8 MiB
constexpr std::uint64_t kUnitBlocksMax = 16'384;  // 128 MiB
constexpr std::uint64_t kUnitsPerConnection = 4;
constexpr std::uint64_t kUnitBytesByKey = kUnitBlocksMax * 8192;

std::string text_of(const TableLook& look) { return look.definition + to_string(look.content); }

}  // namespace

TableCopy::TableCopy(Parts& parts, const TableState& table)
    : parts_(parts), id_(table.table), display_name_(table.schema + "." + table.name) {}

Status TableCopy::run(const std::stop_token& stop) {
    Status status = copy(stop);
    if (!status) {
        if (in_ranges_ && status.error().code() == ErrorCode::aborted) {
            parts_.tables.lose_ranges(id_, false);
        }
        Error error = with_missing_rights(std::move(status).error(), stop);
        clean_up();
        return std::move(error).with_context("copy " + display_name_);
    }
    parts_.copy_events.close(id_);
    parts_.inbox.wake();  // It may have stopped meanwhile.
    return {};
}

// The server says what is denied, and not what would allow it.
Error TableCopy::with_missing_rights(Error error, const std::stop_token& stop) const {
    if (error.code() != ErrorCode::permission) return error;
    std::vector<std::uint32_t> oids = partitions();
    oids.push_back(id_.oid);
    auto connection = connect("rights", stop);
    if (!connection) return error;
    const auto missing = missing_rights(*connection, within(kQueryDeadline, stop), oids);
    if (!missing || missing->empty()) return error;
    return Error(error.code(),
                 fmt::format("{}; as the owner or a superuser: {}", error.message(), *missing))
        .with_sqlstate(error.sqlstate());
}

Status TableCopy::copy(const std::stop_token& stop) {
    WALBROOK_RETURN_IF_ERROR(read_table(stop));
    WALBROOK_RETURN_IF_ERROR(find_range_key(stop));
    in_ranges_ = range_attnum_ != 0 && parts_.tables.copies_in_ranges(id_);
    WALBROOK_RETURN_IF_ERROR(parts_.tables.move(id_, PhaseEvent::copy_started));
    WALBROOK_FAILPOINT("copy.before_hold");
    WALBROOK_RETURN_IF_ERROR(hold(stop));
    WALBROOK_RETURN_IF_ERROR(wait_for_writers(stop));
    WALBROOK_RETURN_IF_ERROR(take_snapshot(stop));
    WALBROOK_FAILPOINT("copy.after_snapshot");
    begun_ = true;
    WALBROOK_RETURN_IF_ERROR(parts_.writer.run([&](Destination& to, std::stop_token token) {
        return to.begin_copy(target_, std::move(token));
    }));
    if (in_ranges_) {
        WALBROOK_RETURN_IF_ERROR(copy_ranges(stop));
    } else {
        WALBROOK_TRY(std::vector<CopyUnitRange> units, plan_units(stop));
        WALBROOK_RETURN_IF_ERROR(copy_units(std::move(units), stop));
    }
    WALBROOK_RETURN_IF_ERROR(finish(stop));
    return wait_for_publish(stop);
}

Result<Connection> TableCopy::connect(std::string_view role, const std::stop_token& stop) const {
    Purpose purpose;
    purpose.application_name = application_name(parts_.config.id, role);
    auto opened =
        Connection::open(parts_.config.pg_connection, purpose, within(kQueryDeadline, stop));
    if (!opened) return refused_connection(std::move(opened).error());
    return opened;
}

Result<TableSchemaPtr> TableCopy::read_schema(Connection& connection,
                                              const std::stop_token& stop) const {
    WALBROOK_TRY(
        TableSchema schema,
        read_table_schema(connection, within(kQueryDeadline, stop),
                          {id_, published_.attnums, published_.identity, published_.is_partly}));
    for (ColumnSchema& column : schema.columns) WALBROOK_RETURN_IF_ERROR(resolve_type(column));
    schema.membership = membership_;  // Of what is copied: the store may know of a later one.
    schema.attempt = parts_.tables.get(id_).attempt;
    schema.content = content_;
    return std::make_shared<const TableSchema>(std::move(schema));
}

Status TableCopy::read_table(const std::stop_token& stop) {
    WALBROOK_TRY(catalog_, connect("copy", stop));
    const Deadline deadline = within(kQueryDeadline, stop);
    seen_ = ++parts_.catalog_seen;  // Whoever looks from now on sees at least as much.
    WALBROOK_TRY(const std::optional<Publication> publication,
                 read_publication(*catalog_, deadline, parts_.config.publication_name));
    if (!publication) {
        return Error(ErrorCode::unavailable,
                     fmt::format("there is no publication {}; create it again",
                                 parts_.config.publication_name));
    }
    WALBROOK_TRY(const std::vector<PublishedTable> tables,
                 read_published_tables(*catalog_, deadline, *publication));
    const auto found = std::find_if(tables.begin(), tables.end(),
                                    [&](const PublishedTable& t) { return t.id == id_; });
    if (found == tables.end()) {
        return Error(ErrorCode::schema_mismatch,
                     fmt::format("the table is not in publication {} any more",
                                 parts_.config.publication_name));
    }
    published_ = *found;
    membership_ = membership_of(*publication, published_);
    if (!published_.problem.empty()) {
        return Error(ErrorCode::schema_mismatch, published_.problem);
    }
    // Not older than membership_: of a filter that has changed meanwhile the next look will know.
    WALBROOK_TRY(row_filters_, read_row_filters(*catalog_, deadline, *publication, published_));
    WALBROOK_TRY(const auto looks, look_at_tables(*catalog_, deadline, std::span(&published_, 1)));
    if (const auto look = looks.find(id_); look != looks.end()) {
        content_ = to_string(look->second.content);
    }
    WALBROOK_TRY(schema_now_, read_schema(*catalog_, stop));
    ended_ = ++parts_.catalog_seen;
    WALBROOK_TRY(const WalPositions wal, read_wal_positions(*catalog_, deadline));
    read_at_ = before_page_header(wal.insert);  // An idle source's stream comes that far.
    WALBROOK_RETURN_IF_ERROR(check_beside_others(tables));
    // A copy without rows would take the place of what was streamed. Of tables that only the
    // destination remembers, that says so itself (CopyTarget::has_rows).
    if (is_visible(id_) &&
        !is_copied(parts_.config.table_sync_copy, published_.schema, published_.name)) {
        return Error(ErrorCode::schema_mismatch,
                     "table_sync_copy says that its rows are not copied, and without them it "
                     "cannot be brought up to date; let table_sync_copy include it, or drop it in "
                     "the destination to begin with an empty table");
    }
    return {};
}

bool TableCopy::is_visible(TableId table) const {
    return parts_.visible.contains(table) || parts_.tables.was_published(table);
}

// Two tables may not take one place in the destination, where names may differ less than here:
// of those that do, the one that is visible has it, also while it is copied again or that fails;
// else the one that is not errored.
Status TableCopy::check_beside_others(const std::vector<PublishedTable>& published) const {
    std::vector<TableSchemaPtr> tables = {schema_now_};
    const bool has_place = is_visible(id_);
    for (const PublishedTable& other : published) {
        if (other.id == id_) continue;
        const bool is_waiting = !has_place && parts_.tables.has_place(other.id);
        if (!is_waiting && !is_visible(other.id)) continue;
        auto named = std::make_shared<TableSchema>();
        named->id = other.id;
        named->schema = other.schema;
        named->name = other.name;
        named->columns.assign(schema_now_->columns.begin(),
                              schema_now_->columns.begin() + !schema_now_->columns.empty());
        tables.push_back(std::move(named));
    }
    const std::vector<std::string> refusals = parts_.destination.refusals(tables);
    if (refusals.empty()) return {};
    tables.erase(tables.begin());
    const std::vector<std::string> of_others = parts_.destination.refusals(tables);
    for (const std::string& refusal : refusals) {
        if (std::find(of_others.begin(), of_others.end(), refusal) == of_others.end()) {
            return Error(ErrorCode::unsupported_value, refusal);
        }
    }
    return {};
}

Status TableCopy::hold(const std::stop_token& stop) {
    input::Hold hold;
    hold.copy = parts_.copy_events.open(id_);
    held_ = true;
    // It was read before the copy had its number, which its versions keep.
    TableSchema schema = *schema_now_;
    schema.attempt = parts_.tables.get(id_).attempt;
    hold.schema = std::make_shared<const TableSchema>(std::move(schema));
    hold.partitions = partitions();
    hold.read_at = read_at_;
    hold.seen = seen_;
    hold.ended = ended_;
    hold.range_attnum = in_ranges_ ? range_attnum_ : std::int16_t{0};
    hold.needs_new_stream = catalog_->major_version() < 15 && has_been_partition();
    parts_.inbox.put(std::move(hold));
    const auto told = parts_.copy_events.wait(id_, stop);
    if (!told) return Error(ErrorCode::cancelled, "stopped before its changes were held");
    if (told->error) return *told->error;
    // Since read_table() the stream knew of no copy that it could have stopped. From now on it
    // does: whoever changes one of these notes it first and tells the stream then.
    const Status wanted = parts_.tables.check_wanted(id_, membership_);
    if (!wanted) parts_.watch.look_soon();  // It may be the watch that is behind.
    return wanted;
}

// Or has partitions, or may have been one.
bool TableCopy::has_been_partition() const {
    return published_.relkind == 'p' || published_.root != id_ || parts_.tables.is_late_member(id_);
}

std::vector<std::uint32_t> TableCopy::partitions() const {
    std::vector<std::uint32_t> oids;
    for (const PhysicalTable& table : published_.physical) {
        if (table.id != id_) oids.push_back(table.id.oid);
    }
    return oids;
}

// The column by whose ranges the table may be copied: the first of the index that identifies its
// rows, if both sides order its values alike, and every change of a row tells them.
Status TableCopy::find_range_key(const std::stop_token& stop) {
    if (parts_.config.max_snapshot_age_secs == 0 || published_.is_partly ||
        schema_now_->partial_key || published_.relkind != 'r' || published_.root != id_ ||
        published_.physical.size() != 1 || published_.physical.front().id != id_ ||
        !is_copied(parts_.config.table_sync_copy, published_.schema, published_.name)) {
        return {};
    }
    const Deadline deadline = within(kQueryDeadline, stop);
    WALBROOK_TRY(const bool is_standby, is_in_recovery(*catalog_, deadline));
    if (is_standby) return {};
    WALBROOK_TRY(
        const Rows rows,
        catalog_->query(deadline,
                        "select i.indkey[0]::int4 from pg_index i"
                        " join pg_class t on t.oid = i.indrelid"
                        " join pg_class x on x.oid = i.indexrelid"
                        " join pg_am m on m.oid = x.relam"
                        " where i.indrelid = $1::oid and i.indisvalid and m.amname = 'btree'"
                        " and case t.relreplident when 'd' then i.indisprimary"
                        " when 'i' then i.indisreplident else false end",
                        id_.oid));
    if (rows.size() != 1) return {};
    Fields fields(rows, 0);
    const auto attnum = static_cast<std::int16_t>(fields.i32());
    WALBROOK_RETURN_IF_ERROR(fields.finish("read the index of a table's identity"));
    if (schema_now_->replica_identity != ReplicaIdentity::default_key &&
        schema_now_->replica_identity != ReplicaIdentity::index) {
        return {};
    }
    for (const ColumnSchema& column : schema_now_->columns) {
        if (column.attnum == attnum && column.in_identity && !column.nullable &&
            has_key_points(column)) {
            range_attnum_ = attnum;
        }
    }
    return {};
}

// What a transaction wrote before the hold and commits after the stream has passed it
// would be neither held nor in the snapshot: all that write now must end first.
Status TableCopy::wait_for_writers(const std::stop_token& stop) {
    // A standby does not know them, and its snapshot waits for all of them. What its stream has
    // passed it has replayed.
    WALBROOK_TRY(at_standby_, is_in_recovery(*catalog_, within(kQueryDeadline, stop)));
    if (at_standby_ && in_ranges_) {
        return Error(ErrorCode::aborted, "the server became a standby while a table was copied");
    }
    if (at_standby_) return {};
    // Whoever writes through a partitioned table has a lock on it, too.
    std::vector<std::uint32_t> oids = partitions();
    oids.push_back(id_.oid);
    const auto prepared = parts_.tables.is_late_member(id_)
                              ? PreparedTransactions::include
                              : PreparedTransactions::if_being_committed;
    WALBROOK_TRY(std::vector<Writer> writers,
                 list_writers(*catalog_, within(kQueryDeadline, stop), oids, prepared));
    while (!writers.empty()) {
        parts_.tables.note(id_, "the copy waits for " + describe(writers.front()));
        if (!sleep_for(kWriterPoll, stop)) {
            return Error(ErrorCode::cancelled, "stopped while its writers were waited for");
        }
        WALBROOK_TRY(writers, still_writing(*catalog_, within(kQueryDeadline, stop), oids, prepared,
                                            writers));
    }
    parts_.tables.note(id_, {});
    return {};
}

Result<SnapshotHolder> TableCopy::open_holder(const std::stop_token& stop) {
    Purpose purpose;
    purpose.application_name = application_name(parts_.config.id, "snapshot");
    const PgConnectionConfig& source = parts_.config.pg_connection;
    if (!at_standby_) return SnapshotHolder::open(source, purpose, within(kQueryDeadline, stop));
    parts_.tables.note(id_, std::string("the copy waits for a snapshot: ") + kStandbyWaits);
    auto holder =
        SnapshotHolder::open_at_standby(source, purpose, within(kStandbySnapshotDeadline, stop),
                                        fmt::format("{}_tmp_{}_{}", parts_.config.slot_name(),
                                                    id_.oid, parts_.tables.get(id_).attempt));
    parts_.tables.note(id_, {});
    return holder;
}

Status TableCopy::take_snapshot(const std::stop_token& stop) {
    seen_ = ++parts_.catalog_seen;
    auto held = open_holder(stop);
    age_.emplace(parts_.snapshot_ages.begin(display_name_));
    if (!held) return refused_connection(std::move(held).error());
    holder_ = *std::move(held);
    taken_at_ = now();
    const Deadline deadline = within(kQueryDeadline, stop);
    WALBROOK_TRY(shape_, read_shape(holder_->connection(), deadline, id_));
    WALBROOK_RETURN_IF_ERROR(compare_partitions());
    WALBROOK_TRY(auto looks,
                 look_at_tables(holder_->connection(), deadline, std::span(&published_, 1)));
    if (const auto look = looks.find(id_); look != looks.end()) {
        looked_ = text_of(look->second);
        look->second.content.files = shape_.physical;
        content_ = to_string(look->second.content);
        parts_.tables.set_copy_content(id_, content_);
    }
    WALBROOK_TRY(const TableSchemaPtr schema, read_schema(holder_->connection(), stop));
    target_ = std::make_shared<const CopyTarget>(
        CopyTarget{schema, parts_.tables.get(id_).attempt, before_page_header(holder_->position()),
                   is_copied(parts_.config.table_sync_copy, published_.schema, published_.name)});
    return in_ranges_ ? begin_ranges() : Status();
}

// The snapshot was for what the table is: rows come under others.
Status TableCopy::begin_ranges() {
    if (looked_.empty() || !(*target_->schema == *schema_now_)) {
        return Error(ErrorCode::aborted, "the table changed before the snapshots of its copy");
    }
    snapshots_ = CopySnapshots::in_ranges_of(range_attnum_);
    holder_.reset();
    age_.reset();
    return {};
}

// The partitions in the snapshot must be those whose writers were waited for.
Status TableCopy::compare_partitions() const {
    const auto is_in_snapshot = [&](const PhysicalTable& table) {
        return std::any_of(shape_.physical.begin(), shape_.physical.end(),
                           [&](const auto& part) { return part.first == table.id.oid; });
    };
    if (published_.physical.size() == shape_.physical.size() &&
        std::all_of(published_.physical.begin(), published_.physical.end(), is_in_snapshot)) {
        return {};
    }
    return Error(ErrorCode::aborted, "partitions came or went before the snapshot");
}

Result<std::vector<CopyUnitRange>> TableCopy::plan_units(const std::stop_token& stop) {
    std::vector<CopyUnitRange> units;
    if (!is_copied(parts_.config.table_sync_copy, published_.schema, published_.name)) return units;
    const std::uint64_t connections = parts_.config.max_copy_connections_per_table;
    for (const PhysicalTable& table : published_.physical) {
        // Not in the holder's session: to plan a query takes a lock on the table, which its
        // transaction would keep for the whole copy.
        WALBROOK_TRY(const Rows rows,
                     catalog_->query(
                         within(kQueryDeadline, stop),
                         "select pg_relation_size($1::oid) / current_setting('block_size')::int8, "
                         "greatest(reltuples, 0)::int8 from pg_class where oid = $1::oid",
                         table.id.oid));
        if (rows.empty()) {
            return Error(ErrorCode::aborted, fmt::format("{} was dropped", table.name));
        }
        Fields fields(rows, 0);
        const std::uint64_t blocks = fields.u64();
        parts_.tables.expect_rows(id_, fields.u64());
        WALBROOK_RETURN_IF_ERROR(fields.finish("size of a table"));
        WALBROOK_TRY(const bool ranges,
                     has_tid_range_scan(*catalog_, table, within(kQueryDeadline, stop)));
        const std::uint64_t step = !ranges
                                       ? std::max<std::uint64_t>(blocks, 1)  // One unit.
                                       : std::clamp(blocks / (connections * kUnitsPerConnection),
                                                    kUnitBlocksMin, kUnitBlocksMax);
        for (std::uint64_t first = 0; first == 0 || first < blocks; first += step) {
            units.push_back({table, first, first + step, blocks, ranges});
        }
        // The end stays open: rows may have been added behind the size.
        units.back().end_block.reset();
    }
    return units;
}

Status TableCopy::copy_units(std::vector<CopyUnitRange> units, const std::stop_token& stop) {
    std::atomic<std::size_t> next{0};
    std::mutex mutex;
    std::optional<Error> first_error;  // Guarded by mutex.
    std::stop_source give_up;
    const std::stop_callback outer(stop, [&] { give_up.request_stop(); });
    const auto work = [&] {
        Status status;
        auto connection = connect("copy", give_up.get_token());
        std::uint64_t step_blocks = UnitReaderOptions::kFirstStepBlocks;
        if (!connection) status = std::move(connection).error();
        while (status && !give_up.stop_requested()) {
            const std::size_t index = next.fetch_add(1);
            if (index >= units.size()) return;
            status = copy_unit(*connection, units[index], static_cast<std::uint32_t>(index),
                               step_blocks, give_up.get_token());
        }
        if (status) return;
        const std::lock_guard lock(mutex);
        if (!first_error) first_error = std::move(status).error();
        give_up.request_stop();
    };
    const std::size_t workers =
        std::min<std::size_t>(units.size(), parts_.config.max_copy_connections_per_table);
    {
        std::vector<std::jthread> threads;
        for (std::size_t i = 1; i < workers; ++i) threads.emplace_back(work);
        if (workers > 0) work();
    }
    if (first_error) return *first_error;
    if (stop.stop_requested()) return Error(ErrorCode::cancelled, "stopped while it was copied");
    return {};
}

Status TableCopy::copy_unit(Connection& connection, const CopyUnitRange& range, std::uint32_t index,
                            std::uint64_t& step_blocks, const std::stop_token& stop) {
    const auto pass = parts_.copy_gate.enter(stop);
    if (!pass) return Error(ErrorCode::cancelled, "stopped before a unit was read");
    UnitUnderWay unit;
    UnitReaderOptions options = reader_options(range.table, *pass, unit, stop);
    options.snapshot = holder_->name();
    options.step_blocks = step_blocks;
    UnitReader reader(connection, range, std::move(options), stop);
    WALBROOK_RETURN_IF_ERROR(parts_.destination.write_copy(CopyUnit{target_, index}, reader, stop));
    step_blocks = reader.step();
    return failpoint("copy.after_unit");
}

// `pass` and `unit` live as long as the reader. Between ranges no lock is held, and it may
// wait as long as it must; within one only as long as a lock may be kept.
UnitReaderOptions TableCopy::reader_options(const PhysicalTable& table, const CopyGate::Pass& pass,
                                            UnitUnderWay& unit, const std::stop_token& stop) {
    const milliseconds yield(parts_.config.copy_lock_yield_ms);
    UnitReaderOptions options;
    options.range_bytes = parts_.copy_rate.range_bytes();
    options.after_range = [this](std::uint64_t expected, std::uint64_t came) {
        parts_.copy_rate.settle(expected, came);
    };
    options.before_range = [this, &pass, &unit, stop, yield](std::uint64_t expected) -> Status {
        WALBROOK_RETURN_IF_ERROR(switch_to_ranges_when_old());
        if (!parts_.copy_rate.admit(expected, stop)) {
            return Error(ErrorCode::cancelled, "stopped while copies were too fast");
        }
        if (!pass.wait(Instant::max(), stop)) {
            return Error(ErrorCode::cancelled, "stopped while memory was short");
        }
        unit.range_end = now() + yield;
        return switch_to_ranges_when_old();
    };
    options.wait_for_lock = [this, &pass, &unit, stop](milliseconds how_long) -> Status {
        parts_.tables.note(id_, "the copy waits for a lock that somebody else has on the table");
        // One that has rows keeps the memory of them, which the place stands for.
        if (!unit.has_rows) pass.step_out();
        const bool may_go_on = sleep_for(how_long, stop) && (unit.has_rows || pass.step_in(stop));
        if (may_go_on) return {};
        return Error(ErrorCode::cancelled, "stopped while a lock was not to be had");
    };
    options.schema = target_->schema;
    options.shape = shape_;
    if (const auto filter = row_filters_.find(table.id); filter != row_filters_.end()) {
        options.row_filter = filter->second;
    }
    options.yield = yield;
    options.on_batch = [this, &pass, &unit, stop](std::size_t rows) -> Status {
        parts_.tables.add_rows(id_, rows);
        if (rows != 0) parts_.tables.note(id_, {});
        unit.has_rows = unit.has_rows || rows != 0;
        if (const auto lost = parts_.copy_events.lost(id_)) return *lost;
        pass.wait(unit.range_end, stop);
        return switch_to_ranges_when_old();
    };
    return options;
}

Status TableCopy::switch_to_ranges_when_old() const {
    const seconds limit(parts_.config.max_snapshot_age_secs);
    if (in_ranges_ || range_attnum_ == 0 || now() - taken_at_ < limit ||
        !parts_.tables.may_copy_in_ranges(id_)) {
        return {};
    }
    parts_.tables.copy_in_ranges(id_);
    return Error(ErrorCode::aborted,
                 fmt::format("its snapshot is older than max_snapshot_age_secs ({} s): the copy "
                             "begins again in ranges of the key, each with a snapshot of its own",
                             limit.count()));
}

// One after the other: where a range ends is known when it is read.
Status TableCopy::copy_ranges(const std::stop_token& stop) {
    WALBROOK_RETURN_IF_ERROR(plan_units(stop).status());
    WALBROOK_TRY(Connection connection, connect("copy", stop));
    const PhysicalTable& table = published_.physical.front();
    KeyCursor keys;
    keys.attnum = range_attnum_;
    for (std::uint32_t index = 0; !keys.at_end; ++index) {
        const auto pass = parts_.copy_gate.enter(stop);
        if (!pass) return Error(ErrorCode::cancelled, "stopped before a unit was read");
        UnitUnderWay unit;
        UnitReaderOptions options = reader_options(table, *pass, unit, stop);
        options.yield =
            std::min<milliseconds>(options.yield, seconds(parts_.config.max_snapshot_age_secs));
        options.keys = &keys;
        options.unit_bytes = kUnitBytesByKey;
        options.check_range = [this](Connection& of_range, const Deadline& deadline) {
            return check_range(of_range, deadline);
        };
        options.after_key_range = [this](const KeyRange& range) { return after_key_range(range); };
        CopyUnitRange everything;
        everything.table = table;
        UnitReader reader(connection, everything, std::move(options), stop);
        WALBROOK_RETURN_IF_ERROR(
            parts_.destination.write_copy(CopyUnit{target_, index}, reader, stop));
        WALBROOK_FAILPOINT("copy.after_unit");
    }
    return wait_until_flushed(connection, before_page_header(newest_position_), stop);
}

// A table that looks the same, with the same numbers of transactions in its catalog rows, was not
// altered since, not even there and back.
Status TableCopy::check_range(Connection& connection, const Deadline& deadline) {
    age_.emplace(parts_.snapshot_ages.begin(display_name_));
    WALBROOK_TRY(const auto looks, look_at_tables(connection, deadline, std::span(&published_, 1)));
    const auto look = looks.find(id_);
    if (look == looks.end() || text_of(look->second) != looked_) {
        return Error(ErrorCode::aborted, "the table changed between the snapshots of its copy");
    }
    return {};
}

Status TableCopy::after_key_range(const KeyRange& range) {
    age_.reset();
    newest_position_ = range.snapshot.position;
    if (!range.up_to) return snapshots_.add(std::nullopt, range.snapshot.xids);
    for (const ColumnSchema& column : target_->schema->columns) {
        if (column.attnum != range_attnum_) continue;
        WALBROOK_TRY(const KeyPoint up_to, parse_key_point(column, *range.up_to));
        return snapshots_.add(up_to, range.snapshot.xids);
    }
    return Error(ErrorCode::internal, "the key of " + display_name_ + " is not in its schema");
}

// A commit with synchronous_commit=off is seen before it is flushed, and a crash of the server
// takes it back; another transaction may then stand at its place in the log. The session saw the
// snapshot: that it still answers shows that the server has not crashed since.
Status TableCopy::wait_until_flushed(Connection& session, Lsn position,
                                     const std::stop_token& stop) {
    // What a standby has replayed it has flushed.
    if (at_standby_) return {};
    FlushWait how;
    how.flushed = [&]() -> Result<Lsn> {
        WALBROOK_TRY(const WalPositions wal,
                     read_wal_positions(session, within(kQueryDeadline, stop)));
        return wal.flush;
    };
    how.lost = [&] { return parts_.copy_events.lost(id_); };
    how.on_wait = [&] {
        parts_.tables.note(id_, "the copy waits until the source has flushed what it shows");
    };
    how.at_most = kFlushDeadline;
    WALBROOK_RETURN_IF_ERROR(wait_for_flush(position, how, stop));
    parts_.tables.note(id_, {});
    return {};
}

Status TableCopy::finish(const std::stop_token& stop) {
    if (in_ranges_) {
        // What the newest snapshot shows, the stream has to pass.
        CopyTarget target = *target_;
        target.position = before_page_header(newest_position_);
        target_ = std::make_shared<const CopyTarget>(std::move(target));
    } else {
        WALBROOK_RETURN_IF_ERROR(holder_->check(within(kQueryDeadline, stop)));
        WALBROOK_RETURN_IF_ERROR(
            wait_until_flushed(holder_->connection(), target_->position, stop));
        snapshots_ = holder_->shown();
    }
    WALBROOK_FAILPOINT("copy.before_finish");
    WALBROOK_RETURN_IF_ERROR(parts_.writer.run([&](Destination& to, std::stop_token token) {
        return to.finish_copy(target_, std::move(token));
    }));
    WALBROOK_FAILPOINT("copy.after_finish");
    WALBROOK_RETURN_IF_ERROR(parts_.tables.move(id_, PhaseEvent::copy_finished));
    // On an idle source the stream would else not reach the insert position soon.
    if (holder_) holder_->end(within(kQueryDeadline, stop)).ignore();
    if (in_ranges_) {
        parts_.log.info("a table was copied in ranges of its key",
                        {{"table", display_name_}, {"snapshots", snapshots_.ranges()}});
    }
    parts_.inbox.put(input::CopyDone{target_, snapshots_, seen_});
    holder_.reset();
    age_.reset();
    return {};
}

Status TableCopy::wait_for_publish(const std::stop_token& stop) {
    const auto told = parts_.copy_events.wait(id_, stop);
    if (!told) return Error(ErrorCode::cancelled, "stopped before it was published");
    if (told->error) return *told->error;
    // The table stands in the destination and its changes are applied there: nothing is
    // left to give up, and the store can only follow.
    held_ = false;
    begun_ = false;
    Backoff backoff({milliseconds(100), milliseconds(10'000)});
    for (;;) {
        Status stored = parts_.tables.move(id_, PhaseEvent::published);
        if (stored || reaction_to(stored.error().code()) == Reaction::stop) return stored;
        parts_.log.failed(LogLevel::warn, "the store does not take a table's phase; trying again",
                          stored.error(), {{"table", display_name_}});
        if (!sleep_for(backoff.next(), stop)) {
            return Error(ErrorCode::cancelled, "stopped before the store knew that it is ready");
        }
    }
}

void TableCopy::clean_up() {
    holder_.reset();
    age_.reset();
    if (held_) parts_.inbox.put(input::CopyAbandoned{id_});
    if (begun_) {
        const Status status = parts_.writer.run([&](Destination& to, std::stop_token token) {
            return to.discard_copy(target_, std::move(token));
        });
        if (!status && status.error().code() != ErrorCode::cancelled) {
            parts_.log.warn("a shadow table could not be dropped; the next start does it",
                            {{"table", display_name_}, {"error", status.error()}});
        }
    }
    parts_.copy_events.close(id_);
}

}  // namespace walbrook
