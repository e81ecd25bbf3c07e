#include "sim/catalog.h"

#include <algorithm>
#include <utility>

namespace walbrook::sim {

CatalogLook::Table look_at(const Source& source, const Source::Snapshot& snapshot,
                           std::size_t table) {
    const VersionPtr version = source.version_seen_by(snapshot, table);
    CatalogLook::Table out;
    out.published.id = version->schema->id;
    out.published.schema = version->schema->schema;
    out.published.name = version->schema->name;
    out.published.root = version->schema->id;
    if (version->leaves.empty()) out.published.physical.emplace_back().id = version->schema->id;
    for (const auto& [oid, file] : version->leaves) {
        out.published.physical.emplace_back().id = {oid};
        out.look.born_here.insert(oid);
    }
    const auto content = parse_table_content(content_of(*version));
    if (!content) throw Violation("the model's content of a table cannot be parsed");
    out.look.content = *content;
    out.look.definition = definition_of(*version);
    out.membership = kMembership;
    TableSchema schema = *version->schema;
    schema.membership = out.membership;
    out.source.schema = std::make_shared<const TableSchema>(std::move(schema));
    out.source.dropped = version->dropped;
    out.source.existing = existing_of(*version);
    return out;
}

Catalog::Catalog(const Source& source, TableRegistry& tables, std::deque<CoreInput>& inbox,
                 bool copies_again_on_change)
    : source_(source), tables_(tables), inbox_(inbox), copies_again_(copies_again_on_change) {}

void Catalog::read(const Source::Snapshot& snapshot) {
    const std::uint64_t seen = next_look();
    auto xids = SnapshotXids::parse(snapshot.text);
    if (!xids) throw Violation("the snapshot " + snapshot.text + " cannot be parsed");
    xids_ = *std::move(xids);
    position_ = snapshot.insert_position;
    for (std::size_t t = 0; t < kTables; ++t) {
        look_[t] = look_at(source_, snapshot, t);
        look_[t].source.seen = seen;
    }
}

void Catalog::begin(const Source::Snapshot& snapshot) {
    read(snapshot);
    for (CatalogLook::Table& table : look_) compare_rows(table);
}

void Catalog::look() {
    read(source_.take_snapshot());
    for (const TableState& state : tables_.all()) {
        heed(state, look_[Source::table_of(state.table.oid)]);
    }
}

TableRegistry::Contents Catalog::compare_rows(CatalogLook::Table& table) const {
    TableRegistry::Contents contents = tables_.contents(table.published.id);
    const auto reason = [&](const std::string& before) {
        const auto parsed = parse_table_content(before);
        return parsed ? compare_contents(*parsed, table.look, true) : std::string();
    };
    table.source.other_rows = reason(contents.visible);
    table.source.other_rows_in_copy = reason(contents.copy);
    table.source.attempt_visible = contents.attempt_visible;
    table.source.attempt_in_copy = contents.attempt_in_copy;
    return contents;
}

// As CatalogWatch::heed(), where all tables stay in the publication.
void Catalog::heed(const TableState& state, CatalogLook::Table& table) {
    const TableId id = state.table;
    const TableRegistry::Contents contents = compare_rows(table);
    const std::string content = to_string(table.look.content);
    if (!table.source.other_rows.empty()) {
        if (state.phase == TablePhase::ready && !copies_again_) {
            inbox_.push_back(
                input::Stop{id, false, Error(ErrorCode::schema_mismatch, table.source.other_rows)});
        } else if (state.phase == TablePhase::ready) {
            tables_.request_copy(id, table.source.other_rows).ignore();
        }
    } else if (state.phase == TablePhase::ready && contents.visible != content) {
        tables_.set_content(id, content).ignore();
    }
    Told& told = told_[Source::table_of(id.oid)];
    const bool is_ready = state.phase == TablePhase::ready;
    const std::string key = table.look.definition + content;
    if (told.key == key && told.attempt == state.attempt && told.was_ready && is_ready) return;
    told = {key, state.attempt, is_ready};
    inbox_.push_back(input::Changed{id, table.source, table.partitions(), position_});
}

bool Catalog::answer() {
    if (!question_) return false;
    if (!xids_ || !xids_->visible(question_->xid)) {
        look();
        if (!xids_->visible(question_->xid)) return false;
    }
    input::Described answer;
    answer.request = question_->request;
    answer.position = position_;
    for (const CatalogLook::Table& table : look_) {
        const auto& physical = table.published.physical;
        const bool is_its = std::any_of(physical.begin(), physical.end(), [&](const auto& part) {
            return part.id.oid == question_->relation;
        });
        if (!is_its) continue;
        answer.table = table.published.id;
        answer.now = table.source;
        answer.partitions = table.partitions();
    }
    question_.reset();
    inbox_.push_back(std::move(answer));
    return true;
}

}  // namespace walbrook::sim
