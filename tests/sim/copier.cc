#include "sim/copier.h"

#include "pipeline/error_policy.h"
#include "pipeline/stopped_tables.h"
#include "walbrook/testing/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <stop_token>
#include <utility>

namespace walbrook::sim {
namespace {

SnapshotXids parse(const std::string& text) {
    auto xids = SnapshotXids::parse(text);
    if (!xids) throw Violation("the snapshot " + text + " cannot be parsed");
    return *std::move(xids);
}

std::int16_t range_attnum(std::size_t table) {
    return static_cast<std::int16_t>(*key_column(table) + 1);
}

KeyPoint point(std::int64_t key) {
    Column column({TypeKind::int64});
    column.append_fixed(key);
    return *key_point(column, 0);
}

TableSchemaPtr schema_of(const CatalogLook::Table& look, std::uint32_t attempt) {
    TableSchema schema = *look.source.schema;
    schema.attempt = attempt;
    return std::make_shared<const TableSchema>(std::move(schema));
}

std::string text_of(const CatalogLook::Table& look) {
    return look.look.definition + to_string(look.look.content);
}

}  // namespace

void Copier::begin_one() {
    const auto state = parts_.tables.take_due();
    if (!state) return;
    Copy& copy = copies_[Source::table_of(state->table.oid)];
    const std::uint32_t failures = copy.failures;
    copy = {};
    copy.failures = failures;
    copy.stage = Stage::reading;
}

void Copier::step(std::size_t table, std::uint64_t give_up_per_mille) {
    Copy& copy = copies_[table];
    if (copy.stage == Stage::none) return;
    if (copy.stage == Stage::cleaning) return clean_up(table);
    if ((copy.stage == Stage::held || copy.stage == Stage::copying) &&
        parts_.random.per_mille(give_up_per_mille)) {
        return give_up(table, Error(ErrorCode::unavailable, "planned"));
    }
    const bool has_session = copy.stage == Stage::held || copy.stage == Stage::copying;
    const bool opens_one = copy.in_ranges && copy.stage == Stage::copying && copy.next_unit == 0;
    if (opens_one) copy.incarnation = parts_.source.incarnation();
    if (has_session && copy.incarnation != parts_.source.incarnation()) {
        return give_up(table, Error(ErrorCode::unavailable, "the server is gone"));
    }
    Status status = advance(table);
    if (!status) give_up(table, std::move(status).error());
}

Status Copier::advance(std::size_t table) {
    Copy& copy = copies_[table];
    switch (copy.stage) {
        case Stage::reading:
            return read_table(table);
        case Stage::asked: {
            const auto told = take_event(id_of(table));
            if (!told) return {};
            if (told->error) return *told->error;
            WALBROOK_RETURN_IF_ERROR(parts_.tables.check_wanted(id_of(table), kMembership));
            copy.stage = Stage::held;
            copy.held_at = parts_.source.take_snapshot().insert_position;
            copy.writers = parts_.source.writers_of(table);
            if (parts_.bug == Bug::skips_writer_wait) copy.writers.clear();
            return {};
        }
        case Stage::held:
            for (const std::size_t tx : copy.writers) {
                if (!parts_.source.has_ended(tx)) return {};
            }
            return take_snapshot(table);
        case Stage::beginning:
            return parts_.is_writer_free() ? begin(table) : Status();
        case Stage::copying:
            if (const auto lost = parts_.events.lost(id_of(table))) return *lost;
            return copy.next_unit == copy.units.size() ? wait_until_flushed(table)
                                                       : write_unit(table);
        case Stage::finishing:
            return parts_.is_writer_free() ? finish(table) : Status();
        case Stage::finished:
            return tell_finished(table);
        case Stage::publishing: {
            const auto told = take_event(id_of(table));
            if (!told) return {};
            if (told->error) return *told->error;
            copy.stage = Stage::published;
            return {};
        }
        case Stage::published:
            return tell_published(table);
        case Stage::none:
        case Stage::cleaning:
            break;
    }
    return {};
}

Status Copier::read_table(std::size_t table) {
    Copy& copy = copies_[table];
    const TableId id = id_of(table);
    copy.incarnation = parts_.source.incarnation();
    const Source::Snapshot snapshot = parts_.source.take_snapshot();
    const CatalogLook::Table look = look_at(parts_.source, snapshot, table);
    copy.schema_now = schema_of(look, 0);
    copy.partitions = look.partitions();
    copy.seen = parts_.catalog.next_look();
    const bool has_ranges = !copy.schema_now->key_columns().empty() && key_column(table) &&
                            parts_.tables.may_copy_in_ranges(id);
    copy.in_ranges =
        has_ranges && (parts_.tables.copies_in_ranges(id) || parts_.random.percent(50));
    WALBROOK_RETURN_IF_ERROR(parts_.tables.move(id, PhaseEvent::copy_started));
    const std::uint64_t number = parts_.events.open(id);
    copy.is_held = true;
    copy.stage = Stage::asked;
    parts_.inbox.push_back(
        input::Hold{.schema = schema_of(look, parts_.tables.get(id).attempt),
                    .partitions = look.partitions(),
                    .read_at = snapshot.insert_position,
                    .seen = copy.seen,
                    .range_attnum = copy.in_ranges ? range_attnum(table) : std::int16_t{0},
                    .copy = number});
    return {};
}

Status Copier::take_snapshot(std::size_t table) {
    Copy& copy = copies_[table];
    const TableId id = id_of(table);
    copy.snapshot = parts_.source.take_snapshot();
    copy.xids = parse(copy.snapshot.text);
    if (parts_.bug == Bug::ignores_in_progress) {
        copy.xids = parse(fmt::format("{0}:{0}:", copy.xids.xmax()));
    }
    copy.version = parts_.source.version_seen_by(copy.snapshot, table);
    const CatalogLook::Table look = look_at(parts_.source, copy.snapshot, table);
    copy.seen = parts_.catalog.next_look();
    if (look.partitions() != copy.partitions) {
        return Error(ErrorCode::aborted, "partitions came or went before the snapshot");
    }
    copy.looked = text_of(look);
    parts_.tables.set_copy_content(id, to_string(look.look.content));
    const std::uint32_t attempt = parts_.tables.get(id).attempt;
    CopyTarget target{schema_of(look, attempt), attempt, copy.snapshot.insert_position};
    if (parts_.bug == Bug::publishes_too_early) target.position = copy.held_at;
    copy.target = std::make_shared<const CopyTarget>(std::move(target));
    if (copy.in_ranges) {
        if (!(*copy.target->schema == *copy.schema_now)) {
            return Error(ErrorCode::aborted, "the table changed before the snapshots of its copy");
        }
        // Of few and near keys, as of the accounts, and of many.
        const std::uint64_t keys_max = parts_.random.percent(50) ? 8 : 60;
        for (std::uint64_t i = parts_.random.between(1, 4); i > 0; --i) {
            copy.bounds.push_back(static_cast<std::int64_t>(parts_.random.below(keys_max)));
        }
        std::sort(copy.bounds.begin(), copy.bounds.end());
        copy.bounds.erase(std::unique(copy.bounds.begin(), copy.bounds.end()), copy.bounds.end());
        copy.snapshots = CopySnapshots::in_ranges_of(range_attnum(table));
        copy.units.resize(copy.bounds.size() + 1);
    } else {
        copy.units.resize(parts_.random.between(1, 4));
        for (auto& [row, values] : parts_.source.rows_seen_by(copy.snapshot, table)) {
            copy.units[row % copy.units.size()].push_back(values);
        }
    }
    copy.stage = Stage::beginning;
    return {};
}

// What fails may be done all the same, and is to be taken back.
Status Copier::begin(std::size_t table) {
    Copy& copy = copies_[table];
    copy.has_begun = true;
    WALBROOK_RETURN_IF_ERROR(parts_.lake.begin_copy(copy.target, {}));
    // The session of before the snapshot plans the units.
    if (copy.incarnation != parts_.source.incarnation()) {
        return Error(ErrorCode::unavailable, "the server is gone");
    }
    copy.stage = Stage::copying;
    return {};
}

// UnitReader::lock_and_compare() and copy_statement(): the files must be those of the snapshot,
// the columns be there by number, and the table be called as before.
Status Copier::check_storage(std::size_t table) const {
    const Copy& copy = copies_[table];
    const VersionPtr now = parts_.source.version_now(table);
    const bool has_leaves = std::all_of(
        copy.version->leaves.begin(), copy.version->leaves.end(), [&](const auto& leaf) {
            const auto found = now->leaves.find(leaf.first);
            return found != now->leaves.end() && found->second == leaf.second;
        });
    const bool is_other = now->leaves.empty() ? now->file != copy.version->file : !has_leaves;
    if (is_other || now->schema->name != copy.schema_now->name) {
        return Error(ErrorCode::aborted, "the table was rewritten, truncated or renamed");
    }
    for (const ColumnSchema& column : copy.target->schema->columns) {
        const bool is_there = std::any_of(
            now->schema->columns.begin(), now->schema->columns.end(), [&](const auto& other) {
                return other.attnum == column.attnum && other.type_oid == column.type_oid &&
                       other.typmod == column.typmod;
            });
        if (!is_there) return Error(ErrorCode::aborted, "a column was dropped or changed");
    }
    return {};
}

// A range in a transaction of its own: no lock is waited for, and a file that is not the
// snapshot's means that the rows are gone.
Status Copier::write_unit(std::size_t table) {
    Copy& copy = copies_[table];
    // Time for changes between the snapshots.
    if (copy.in_ranges && parts_.random.percent(80)) return {};
    if (parts_.source.is_locked_exclusively(table)) return {};
    WALBROOK_RETURN_IF_ERROR(check_storage(table));
    if (copy.in_ranges) WALBROOK_RETURN_IF_ERROR(read_range(table));
    testing::TestReader reader(copy.target->schema);
    const std::vector<Values>& rows = copy.units[copy.next_unit];
    const auto half = static_cast<std::ptrdiff_t>(rows.size() / 2);
    reader.add(testing::make_rows(copy.target->schema, {rows.begin(), rows.begin() + half}));
    const CopyUnit unit{copy.target, static_cast<std::uint32_t>(copy.next_unit)};
    if (parts_.random.percent(1)) {
        // The connection breaks in the middle: nothing is written.
        reader.fail_at_end(Error(ErrorCode::unavailable, "planned: the connection breaks"));
        Status status = parts_.lake.write_copy(unit, reader, {});
        if (status) throw Violation("half a unit was taken");
        return status;
    }
    reader.add(testing::make_rows(copy.target->schema, {rows.begin() + half, rows.end()}));
    Status written = parts_.lake.write_copy(unit, reader, {});
    if (!written && parts_.bug != Bug::skips_failed_units) return written;
    if (copy.in_ranges) {
        std::optional<KeyPoint> up_to;
        if (copy.next_unit < copy.bounds.size()) up_to = point(copy.bounds[copy.next_unit]);
        if (copy.next_unit == 0 || parts_.bug != Bug::asks_one_snapshot) {
            copy.xids = parse(copy.snapshot.text);
        }
        expect(copy.snapshots.add(up_to, copy.xids), "add a range");
    }
    ++copy.next_unit;
    return {};
}

// The next range under a snapshot of its own, which must show the table as it was.
Status Copier::read_range(std::size_t table) {
    Copy& copy = copies_[table];
    const std::size_t range = copy.next_unit;
    const Source::Snapshot snapshot = parts_.source.take_snapshot();
    if (text_of(look_at(parts_.source, snapshot, table)) != copy.looked) {
        return Error(ErrorCode::aborted, "the table changed between the snapshots of its copy");
    }
    copy.units[range].clear();
    for (auto& [row, values] : parts_.source.rows_seen_by(snapshot, table)) {
        std::int64_t key = number(*values[*key_column(table)]);
        if (parts_.bug == Bug::ranges_of_places) key = static_cast<std::int64_t>(row % 60);
        const bool is_behind = range > 0 && key <= copy.bounds[range - 1];
        const bool is_beyond = range < copy.bounds.size() && key > copy.bounds[range];
        if (!is_behind && !is_beyond) copy.units[range].push_back(values);
    }
    copy.snapshot = snapshot;
    return {};
}

// TableCopy::finish(), of which the call waits for the writer.
Status Copier::wait_until_flushed(std::size_t table) {
    Copy& copy = copies_[table];
    if (parts_.source.flushed() < copy.snapshot.insert_position) return {};
    if (copy.in_ranges && parts_.bug != Bug::publishes_too_early) {
        CopyTarget target = *copy.target;
        target.position = copy.snapshot.insert_position;
        copy.target = std::make_shared<const CopyTarget>(std::move(target));
    }
    copy.stage = Stage::finishing;
    return {};
}

Status Copier::finish(std::size_t table) {
    Copy& copy = copies_[table];
    WALBROOK_RETURN_IF_ERROR(parts_.lake.finish_copy(copy.target, {}));
    copy.stage = Stage::finished;
    return {};
}

Status Copier::tell_finished(std::size_t table) {
    Copy& copy = copies_[table];
    WALBROOK_RETURN_IF_ERROR(parts_.tables.move(id_of(table), PhaseEvent::copy_finished));
    CopySnapshots shown = copy.in_ranges ? copy.snapshots : CopySnapshots(copy.xids);
    parts_.inbox.push_back(input::CopyDone{copy.target, std::move(shown), copy.seen});
    copy.stage = Stage::publishing;
    return {};
}

// Only now the store knows, and whoever stops the table meanwhile has waited. Nothing is left to be
// given up: a store that does not answer is asked again.
Status Copier::tell_published(std::size_t table) {
    Copy& copy = copies_[table];
    const Status stored = parts_.tables.move(id_of(table), PhaseEvent::published);
    if (!stored && reaction_to(stored.error().code()) == Reaction::retry) return {};
    expect(stored, "say published");
    parts_.events.close(id_of(table));
    if (copy.in_ranges && copy.snapshots.ranges() > 1) ++published_in_ranges_;
    copy = {};
    parts_.tables.give_back(id_of(table), std::chrono::milliseconds(0));
    return {};
}

std::optional<CopyEvents::Told> Copier::take_event(TableId table) {
    std::stop_source now;
    now.request_stop();
    return parts_.events.wait(table, now.get_token());
}

// TableCopy::clean_up(), of which the second half waits for the writer.
void Copier::give_up(std::size_t table, Error error) {
    Copy& copy = copies_[table];
    if (copy.in_ranges && error.code() == ErrorCode::aborted) {
        parts_.tables.lose_ranges(id_of(table), false);
    }
    if (copy.is_held) parts_.inbox.push_back(input::CopyAbandoned{id_of(table)});
    copy.error = std::move(error);
    copy.stage = Stage::cleaning;
}

// And CopyWorkers::settle(). What could not be discarded the next begin_copy() or open() does.
void Copier::clean_up(std::size_t table) {
    Copy& copy = copies_[table];
    const TableId id = id_of(table);
    if (copy.has_begun && !parts_.is_writer_free()) return;
    if (std::exchange(copy.has_begun, false)) {
        parts_.lake.discard_copy(copy.target, {}).ignore();
    }
    parts_.events.close(id);
    const Reaction reaction = reaction_to(copy.error->code());
    if (reaction == Reaction::stop) throw Violation("a copy ends: " + copy.error->message());
    const Status stored = settle_failed_copy(id, *copy.error, parts_.tables);
    if (!stored && reaction_to(stored.error().code()) == Reaction::retry) return;  // Another time.
    expect(stored, "settle a copy that failed");
    const std::uint32_t failures = std::min(copy.failures + 1, 5U);
    copy = {};
    copy.failures = failures;
    parts_.tables.give_back(id, std::chrono::milliseconds(50U << failures));
}

std::string Copier::describe(std::size_t table) const {
    static constexpr std::array names{"none",       "reading",   "asked",     "held",
                                      "beginning",  "copying",   "finishing", "finished",
                                      "publishing", "published", "cleaning"};
    const TableState state = parts_.tables.get(id_of(table));
    return fmt::format("{} (phase {}, attempt {}: {})",
                       names[static_cast<std::size_t>(copies_[table].stage)], name_of(state.phase),
                       state.attempt, state.reason);
}

}  // namespace walbrook::sim
