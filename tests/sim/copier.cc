#include "sim/copier.h"

#include "walbrook/testing/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <utility>

namespace walbrook::sim {
namespace {

void expect(const Status& status, const char* what) {
    if (!status) throw Violation(fmt::format("{}: {}", what, status.error().message()));
}

SnapshotXids parse(const std::string& text) {
    auto xids = SnapshotXids::parse(text);
    if (!xids) throw Violation("the snapshot " + text + " cannot be parsed");
    return *std::move(xids);
}

std::int16_t range_attnum(std::size_t table) {
    return static_cast<std::int16_t>(*key_column(table) + 1);
}

std::int64_t number(const std::string& text) {
    std::int64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

KeyPoint point(std::int64_t key) {
    Column column({TypeKind::int64});
    column.append_fixed(key);
    return *key_point(column, 0);
}

}  // namespace

Copier::Copier(Random& random, Source& source, Destination& destination, Writer& writer,
               std::deque<CoreInput>& inbox, Registry& registry, Bug bug)
    : random_(random),
      source_(source),
      destination_(destination),
      writer_(writer),
      inbox_(inbox),
      registry_(registry),
      bug_(bug) {}

void Copier::step(std::size_t table, std::int64_t now_ms, std::uint64_t give_up_per_mille) {
    Copy& copy = copies_[table];
    TableEntry& entry = registry_[table];
    if ((copy.stage == Stage::held || copy.stage == Stage::copying) &&
        random_.per_mille(give_up_per_mille)) {
        return give_up(table, now_ms + 100);
    }
    switch (copy.stage) {
        case Stage::none:
            if (entry.phase == TablePhase::errored && entry.not_before_ms <= now_ms) {
                entry.phase = TablePhase::queued;
            }
            if (entry.phase != TablePhase::queued || entry.not_before_ms > now_ms) return;
            copy = {};
            copy.stage = Stage::asked;
            entry.phase = TablePhase::copying;
            ++entry.attempt;
            copy.in_ranges = key_column(table) && !entry.in_one_snapshot && random_.percent(50);
            inbox_.push_back(input::Hold{
                .schema = source_.schema_now(table),
                .read_at = source_.insert_position(),
                .range_attnum = copy.in_ranges ? range_attnum(table) : std::int16_t{0}});
            return;
        case Stage::asked:
            return;
        case Stage::held:
            for (const std::size_t tx : copy.writers) {
                if (!source_.has_ended(tx)) return;
            }
            if (!writer_.is_free()) return;
            return take_snapshot(table);
        case Stage::copying:
            return write_unit(table, now_ms);
        case Stage::publishing:
            return;
        case Stage::cleaning:
            // What the core says of this attempt must not be taken for the next one's.
            if (!writer_.is_free() || !inbox_.empty()) return;
            if (copy.has_begun) {
                expect(destination_.discard_copy(copy.target, {}), "discard a copy");
            }
            if (entry.phase != TablePhase::errored) {
                entry.phase = TablePhase::queued;
                entry.not_before_ms = copy.again_at_ms;
            }
            copy.stage = Stage::none;
            return;
    }
}

void Copier::take_snapshot(std::size_t table) {
    Copy& copy = copies_[table];
    copy.snapshot = source_.take_snapshot();
    copy.xids = parse(copy.snapshot.text);
    if (bug_ == Bug::ignores_in_progress) {
        copy.xids = parse(fmt::format("{0}:{0}:", copy.xids.xmax()));
    }
    copy.filenode = source_.filenode_seen_by(copy.snapshot, table);
    CopyTarget target{source_.schema_seen_by(copy.snapshot, table), registry_[table].attempt,
                      copy.snapshot.insert_position};
    if (bug_ == Bug::publishes_too_early) target.position = {};
    copy.target = std::make_shared<const CopyTarget>(std::move(target));
    if (copy.in_ranges) {
        // Of few and near keys, as of the accounts, and of many.
        const std::uint64_t keys_max = random_.percent(50) ? 8 : 60;
        for (std::uint64_t i = random_.between(1, 4); i > 0; --i) {
            copy.bounds.push_back(static_cast<std::int64_t>(random_.below(keys_max)));
        }
        std::sort(copy.bounds.begin(), copy.bounds.end());
        copy.bounds.erase(std::unique(copy.bounds.begin(), copy.bounds.end()), copy.bounds.end());
        copy.snapshots = CopySnapshots::in_ranges_of(range_attnum(table));
        copy.units.resize(copy.bounds.size() + 1);
        expect(destination_.begin_copy(copy.target, {}), "begin a copy");
        copy.has_begun = true;
        copy.stage = Stage::copying;
        return;
    }
    copy.units.resize(random_.between(1, 4));
    for (auto& [row, values] : source_.rows_seen_by(copy.snapshot, table)) {
        copy.units[row % copy.units.size()].push_back(values);
    }
    expect(destination_.begin_copy(copy.target, {}), "begin a copy");
    copy.has_begun = true;
    copy.stage = Stage::copying;
}

// A range in a transaction of its own: no lock is waited for, and a file that is not the
// snapshot's means that the rows are gone.
void Copier::write_unit(std::size_t table, std::int64_t now_ms) {
    Copy& copy = copies_[table];
    if (copy.next_unit == copy.units.size()) return finish(table);
    // Time for changes between the snapshots.
    if (copy.in_ranges && random_.percent(80)) return;
    if (source_.is_locked_exclusively(table)) return;
    if (source_.filenode_now(table) != copy.filenode) return give_up(table, now_ms);
    if (copy.in_ranges && !read_range(table)) return give_up(table, now_ms);
    testing::TestReader reader(copy.target->schema);
    const std::vector<Values>& rows = copy.units[copy.next_unit];
    const std::size_t half = rows.size() / 2;
    reader.add(testing::make_rows(
        copy.target->schema, {rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(half)}));
    const CopyUnit unit{copy.target, static_cast<std::uint32_t>(copy.next_unit)};
    if (random_.percent(5)) {
        // The connection breaks in the middle: nothing is written, the unit comes again.
        reader.fail_at_end(Error(ErrorCode::unavailable, "planned"));
        if (destination_.write_copy(unit, reader, {})) throw Violation("half a unit was taken");
        return;
    }
    reader.add(testing::make_rows(copy.target->schema,
                                  {rows.begin() + static_cast<std::ptrdiff_t>(half), rows.end()}));
    expect(destination_.write_copy(unit, reader, {}), "write a copy");
    if (copy.in_ranges) {
        std::optional<KeyPoint> up_to;
        if (copy.next_unit < copy.bounds.size()) up_to = point(copy.bounds[copy.next_unit]);
        if (copy.next_unit == 0 || bug_ != Bug::asks_one_snapshot) {
            copy.xids = parse(copy.snapshot.text);
        }
        expect(copy.snapshots.add(up_to, copy.xids), "add a range");
    }
    ++copy.next_unit;
}

// The next range under a snapshot of its own. False if the table is another one than before.
bool Copier::read_range(std::size_t table) {
    Copy& copy = copies_[table];
    const std::size_t range = copy.next_unit;
    const Source::Snapshot snapshot = source_.take_snapshot();
    if (source_.filenode_seen_by(snapshot, table) != copy.filenode ||
        source_.schema_seen_by(snapshot, table) != copy.target->schema) {
        return false;
    }
    copy.units[range].clear();
    for (auto& [row, values] : source_.rows_seen_by(snapshot, table)) {
        std::int64_t key = number(*values[*key_column(table)]);
        if (bug_ == Bug::ranges_of_places) key = static_cast<std::int64_t>(row % 60);
        const bool is_behind = range > 0 && key <= copy.bounds[range - 1];
        const bool is_beyond = range < copy.bounds.size() && key > copy.bounds[range];
        if (!is_behind && !is_beyond) copy.units[range].push_back(values);
    }
    copy.snapshot = snapshot;
    return true;
}

void Copier::finish(std::size_t table) {
    Copy& copy = copies_[table];
    if (!writer_.is_free()) return;
    if (copy.in_ranges && bug_ != Bug::publishes_too_early) {
        CopyTarget target = *copy.target;
        target.position = copy.snapshot.insert_position;
        copy.target = std::make_shared<const CopyTarget>(std::move(target));
    }
    expect(destination_.finish_copy(copy.target, {}), "finish a copy");
    if (copy.in_ranges) {
        inbox_.push_back(input::CopyDone{copy.target, copy.snapshots});
    } else {
        inbox_.push_back(input::CopyDone{copy.target, copy.xids});
    }
    registry_[table].phase = TablePhase::catching_up;
    copy.stage = Stage::publishing;
}

void Copier::give_up(std::size_t table, std::int64_t again_at_ms) {
    Copy& copy = copies_[table];
    inbox_.push_back(input::CopyAbandoned{{static_cast<std::uint32_t>(16'384 + table)}});
    copy.stage = Stage::cleaning;
    copy.again_at_ms = again_at_ms;
}

void Copier::on_holding(TableId id) {
    const std::size_t table = Source::table_of(id.oid);
    Copy& copy = copies_[table];
    if (copy.stage == Stage::cleaning) return;
    if (copy.stage != Stage::asked) throw Violation("a hold that nobody asked for");
    copy.stage = Stage::held;
    copy.writers = source_.writers_of(table);
    if (bug_ == Bug::skips_writer_wait) copy.writers.clear();
}

void Copier::on_published(TableId id) {
    const std::size_t table = Source::table_of(id.oid);
    Copy& copy = copies_[table];
    // Whoever gave up at the same moment: the core follows the table, and the record in
    // the destination says ready.
    if (copy.stage != Stage::publishing) {
        throw Violation(fmt::format("table {} is published while {}", table, describe(table)));
    }
    copy.stage = Stage::none;
    if (copy.in_ranges && copy.snapshots.ranges() > 1) ++published_in_ranges_;
    registry_[table].phase = TablePhase::ready;
    registry_[table].in_one_snapshot = false;
}

void Copier::on_lost(const action::CopyLost& lost, std::int64_t now_ms) {
    const std::size_t table = Source::table_of(lost.table.oid);
    registry_[table].in_one_snapshot = lost.in_one_snapshot;
    const Stage stage = copies_[table].stage;
    if (stage == Stage::none || stage == Stage::asked) {
        throw Violation("a copy was lost that nobody made");
    }
    if (stage != Stage::cleaning) give_up(table, now_ms + 50);
}

void Copier::on_stopped(const action::TableStopped& stopped, std::int64_t now_ms) {
    const std::size_t table = Source::table_of(stopped.table.oid);
    if (is_open(table)) {
        if (copies_[table].stage != Stage::cleaning) give_up(table, now_ms + 50);
        return;
    }
    TableEntry& entry = registry_[table];
    if (entry.phase != TablePhase::ready) throw Violation("a table stopped that was not ready");
    entry.phase = stopped.copy_again ? TablePhase::queued : TablePhase::errored;
    entry.not_before_ms = stopped.copy_again ? now_ms : now_ms + 300;
}

bool Copier::is_copy_gone(TableId id) const {
    const Copy& copy = copies_[Source::table_of(id.oid)];
    return copy.stage != Stage::publishing;
}

std::string Copier::describe(std::size_t table) const {
    static constexpr std::array names{"none", "asked", "held", "copying", "publishing", "cleaning"};
    return fmt::format("{} (phase {}, attempt {})",
                       names[static_cast<std::size_t>(copies_[table].stage)],
                       name_of(registry_[table].phase), registry_[table].attempt);
}

}  // namespace walbrook::sim
