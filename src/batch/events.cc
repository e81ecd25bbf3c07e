#include "walbrook/events.h"

#include "base/check.h"
#include "batch/value_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <limits>
#include <type_traits>

namespace walbrook {
namespace {

// The kinds from which a C++ type can be read without changing a value.
template <class T>
bool fits(TypeKind kind) {
    using enum TypeKind;
    if constexpr (std::is_same_v<T, bool>) return kind == boolean;
    if constexpr (std::is_same_v<T, std::int16_t>) return kind == int16;
    if constexpr (std::is_same_v<T, std::int32_t>) return kind == int32 || kind == int16;
    if constexpr (std::is_same_v<T, std::uint32_t>) return kind == uint32;
    if constexpr (std::is_same_v<T, std::int64_t>) {
        return kind == int64 || kind == int32 || kind == int16 || kind == uint32;
    }
    if constexpr (std::is_same_v<T, float>) return kind == float32;
    if constexpr (std::is_same_v<T, double>) return kind == float64 || kind == float32;
    if constexpr (std::is_same_v<T, Decimal>) return kind == decimal;
    if constexpr (std::is_same_v<T, Date>) return kind == date;
    if constexpr (std::is_same_v<T, TimeOfDay>) return kind == time;
    if constexpr (std::is_same_v<T, Timestamp>) return kind == timestamp || kind == timestamptz;
    if constexpr (std::is_same_v<T, Uuid>) return kind == uuid;
    if constexpr (std::is_same_v<T, std::string_view>) {
        return kind == text || kind == json || kind == bytes;
    }
    return false;
}

template <class T>
constexpr std::string_view name_of_type() {
    if constexpr (std::is_same_v<T, bool>) return "bool";
    if constexpr (std::is_same_v<T, std::int16_t>) return "int16";
    if constexpr (std::is_same_v<T, std::int32_t>) return "int32";
    if constexpr (std::is_same_v<T, std::uint32_t>) return "uint32";
    if constexpr (std::is_same_v<T, std::int64_t>) return "int64";
    if constexpr (std::is_same_v<T, float>) return "float";
    if constexpr (std::is_same_v<T, double>) return "double";
    if constexpr (std::is_same_v<T, Decimal>) return "Decimal";
    if constexpr (std::is_same_v<T, Date>) return "Date";
    if constexpr (std::is_same_v<T, TimeOfDay>) return "TimeOfDay";
    if constexpr (std::is_same_v<T, Timestamp>) return "Timestamp";
    if constexpr (std::is_same_v<T, Uuid>) return "Uuid";
    if constexpr (std::is_same_v<T, std::string_view>) return "string_view";
    return "string";
}

template <class T>
T read_integer(const Column& column, std::size_t row) {
    switch (column.type().kind) {
        case TypeKind::int16:
            return static_cast<T>(column.fixed_at<std::int16_t>(row));
        case TypeKind::int32:
            return static_cast<T>(column.fixed_at<std::int32_t>(row));
        case TypeKind::uint32:
            return static_cast<T>(column.fixed_at<std::uint32_t>(row));
        default:
            return static_cast<T>(column.fixed_at<std::int64_t>(row));
    }
}

// `fits` has said yes; the row is not null.
template <class T>
void read_value(const Column& column, std::size_t row, T& into) {
    if constexpr (std::is_same_v<T, bool>) {
        into = column.bool_at(row);
    } else if constexpr (std::is_integral_v<T>) {
        into = read_integer<T>(column, row);
    } else if constexpr (std::is_floating_point_v<T>) {
        const bool narrow = column.type().kind == TypeKind::float32;
        into = narrow ? static_cast<T>(column.fixed_at<float>(row))
                      : static_cast<T>(column.fixed_at<double>(row));
    } else if constexpr (std::is_same_v<T, Decimal>) {
        const auto raw = column.fixed_at<std::array<std::uint64_t, 2>>(row);
        into = {static_cast<std::int64_t>(raw[1]), raw[0], column.type().scale};
    } else if constexpr (std::is_same_v<T, std::string_view>) {
        into = column.bytes_at(row);
    } else {
        into = column.fixed_at<T>(row);
    }
}

}  // namespace

Error Cell::mismatch(std::string_view wanted) const {
    std::string is = to_string(schema_->type);
    if (unchanged_) is = "unchanged";
    if (is_null()) is = "null";
    return Error(ErrorCode::schema_mismatch,
                 fmt::format("read column {} as {}: it is {}", schema_->name, wanted, is));
}

template <class T>
Status Cell::read(T& into) const {
    const ColumnType& type = column_->type();
    if constexpr (std::is_same_v<T, std::string>) {
        if (!has_value() || (type.kind == TypeKind::bytes && !type.is_list)) {
            return mismatch(name_of_type<T>());
        }
        into = to_text(*schema_, *column_, row_);
    } else {
        if (!has_value() || type.is_list || !fits<T>(type.kind)) return mismatch(name_of_type<T>());
        read_value(*column_, row_, into);
    }
    return {};
}

Result<std::size_t> Cell::list_size() const {
    if (!has_value() || !column_->type().is_list) return mismatch("a list");
    return static_cast<std::size_t>(column_->offset_at(row_ + 1) - column_->offset_at(row_));
}

template <class T>
Result<bool> Cell::read_element(std::size_t index, T& into) const {
    const Column& elements = column_->element();
    if (!fits<T>(elements.type().kind)) {
        return mismatch(fmt::format("a list of {}", name_of_type<T>()));
    }
    const std::size_t row = static_cast<std::size_t>(column_->offset_at(row_)) + index;
    if (elements.is_null(row)) return false;
    read_value(elements, row, into);
    return true;
}

#define WALBROOK_READABLE(T)              \
    template Status Cell::read(T&) const; \
    template Result<bool> Cell::read_element(std::size_t, T&) const
WALBROOK_READABLE(bool);
WALBROOK_READABLE(std::int16_t);
WALBROOK_READABLE(std::int32_t);
WALBROOK_READABLE(std::int64_t);
WALBROOK_READABLE(std::uint32_t);
WALBROOK_READABLE(float);
WALBROOK_READABLE(double);
WALBROOK_READABLE(Decimal);
WALBROOK_READABLE(Date);
WALBROOK_READABLE(TimeOfDay);
WALBROOK_READABLE(Timestamp);
WALBROOK_READABLE(Uuid);
WALBROOK_READABLE(std::string_view);
#undef WALBROOK_READABLE
template Status Cell::read(std::string&) const;

Cell RowView::cell(std::size_t column) const {
    WALBROOK_CHECK(column < size());
    return {schema().columns[column], rows_->columns()[column], row_,
            changes_ != nullptr && changes_->is_unchanged(column, row_)};
}

std::optional<Cell> RowView::cell(std::string_view column) const {
    for (std::size_t i = 0; i < size(); ++i) {
        if (schema().columns[i].name == column) return cell(i);
    }
    return std::nullopt;
}

namespace {

// A copy that outlives the flush's next().
ChangeBatch copy_of(const ChangeBatch& batch) {
    ChangeBatch copy(batch.schema());
    copy.changes = batch.changes;
    copy.transactions = batch.transactions;
    copy.unchanged = batch.unchanged;
    copy.copy = batch.copy;
    for (std::size_t row = 0; row < batch.new_rows.rows(); ++row) {
        copy.new_rows.append_row_from(batch.new_rows, row);
    }
    for (std::size_t row = 0; row < batch.old_rows.rows(); ++row) {
        copy.old_rows.append_row_from(batch.old_rows, row);
    }
    return copy;
}

// Where the events of a window come from: a change of a batch, or a truncate.
struct Place {
    EventKey key;
    const Transaction* transaction = nullptr;
    const ChangeBatch* batch = nullptr;
    const Change* change = nullptr;
    const Truncate* truncate = nullptr;
    const SchemaChange* schema = nullptr;
};

Event event_of(const Place& place) {
    if (place.schema != nullptr) return *place.schema;
    if (place.truncate != nullptr) {
        return TruncateEvent{place.truncate->tables, place.key, place.truncate->copy};
    }
    const ChangeBatch& batch = *place.batch;
    const Change& change = *place.change;
    const RowChange common{batch.schema(), place.key, batch.copy};
    const auto new_row = [&] { return RowView(batch, static_cast<std::size_t>(change.new_row)); };
    const auto old_row = [&] {
        return RowView(batch.old_rows, static_cast<std::size_t>(change.old_row));
    };
    switch (change.kind) {
        case ChangeKind::insert:
            return InsertEvent{common, new_row()};
        case ChangeKind::update: {
            UpdateEvent update{common, new_row(), std::nullopt, change.old_is_full};
            if (change.old_row >= 0) update.old = old_row();
            return update;
        }
        case ChangeKind::remove:
            return DeleteEvent{common, old_row(), change.old_is_full};
    }
    WALBROOK_CHECK(false);
}

}  // namespace

struct FlushEvents::State {
    Flush& flush;
    const std::size_t window_bytes;
    const std::stop_token stop;

    std::deque<ChangeBatch> batches;  // Of the window; a deque, because places point here.
    std::deque<Truncate> truncates;
    std::deque<SchemaChange> schemas;
    std::vector<Place> places;  // In the order of commits.
    std::size_t at = 0;
    std::optional<Transaction> open;  // Whose commit is due.
    std::optional<Event> after;       // What stands between transactions and ends the window.
    bool at_end = false;
    std::optional<Event> current;

    State(Flush& read, std::size_t bytes, std::stop_token asked)
        : flush(read), window_bytes(bytes), stop(std::move(asked)) {}
    Status read_window();
    std::size_t add(const ChangeBatch& batch);
    void add(const Truncate& truncate);
    void add(const SchemaChange& change);
    const Event* give(Event event) {
        current.emplace(std::move(event));
        return &*current;
    }
    void clear() {
        places.clear();
        batches.clear();
        truncates.clear();
        schemas.clear();
        at = 0;
    }
};

std::size_t FlushEvents::State::add(const ChangeBatch& batch) {
    const ChangeBatch& kept = batches.emplace_back(copy_of(batch));
    for (const Change& change : kept.changes) {
        WALBROOK_CHECK(change.transaction < kept.transactions.size());
        const Transaction& transaction = kept.transactions[change.transaction];
        places.push_back(
            {{transaction.commit_lsn, change.ordinal}, &transaction, &kept, &change, nullptr});
    }
    return kept.bytes();
}

void FlushEvents::State::add(const Truncate& truncate) {
    const Truncate& kept = truncates.emplace_back(truncate);
    places.push_back(
        {{kept.transaction.commit_lsn, kept.ordinal}, &kept.transaction, nullptr, nullptr, &kept});
}

void FlushEvents::State::add(const SchemaChange& change) {
    const SchemaChange& kept = schemas.emplace_back(change);
    places.push_back({{kept.transaction.commit_lsn, kept.ordinal},
                      &kept.transaction,
                      nullptr,
                      nullptr,
                      nullptr,
                      &kept});
}

Status FlushEvents::State::read_window() {
    clear();
    std::size_t bytes = 0;
    while (!after && bytes < window_bytes) {
        if (stop.stop_requested()) {
            return Error(ErrorCode::cancelled, "stopped while the changes of a flush were read");
        }
        WALBROOK_TRY(const FlushItem* item, flush.next());
        if (item == nullptr) {
            at_end = true;
            break;
        }
        if (const auto* batch = std::get_if<ChangeBatch>(item)) bytes += add(*batch);
        if (const auto* truncate = std::get_if<Truncate>(item)) add(*truncate);
        if (const auto* change = std::get_if<SchemaChange>(item)) {
            if (change->transaction.commit_lsn) {
                add(*change);
            } else {
                after = *change;
            }
        }
        if (const auto* publish = std::get_if<Publish>(item)) after = *publish;
        if (const auto* freeze = std::get_if<Freeze>(item)) after = *freeze;
        if (const auto* retire = std::get_if<Retire>(item)) after = *retire;
        if (const auto* replace = std::get_if<Replace>(item)) after = *replace;
    }
    // Stable: what has equal keys (a change that goes to two targets) stays as it came.
    std::stable_sort(places.begin(), places.end(),
                     [](const Place& a, const Place& b) { return a.key < b.key; });
    return {};
}

FlushEvents::FlushEvents(Flush& flush, std::size_t window_bytes, std::stop_token stop)
    : state_(std::make_unique<State>(flush, std::max<std::size_t>(window_bytes, 1),
                                     std::move(stop))) {}

FlushEvents::~FlushEvents() = default;

Result<const Event*> FlushEvents::next() {
    State& s = *state_;
    for (;;) {
        const bool more = s.at < s.places.size();
        if (s.open && (!more || s.places[s.at].key.commit_lsn != s.open->commit_lsn)) {
            const Transaction done = *s.open;
            s.open.reset();
            return s.give(CommitEvent{done});
        }
        if (more && !s.open) {
            s.open = *s.places[s.at].transaction;
            return s.give(BeginEvent{*s.open});
        }
        if (more) return s.give(event_of(s.places[s.at++]));
        if (s.after) {
            Event event = std::move(*s.after);
            s.after.reset();
            return s.give(std::move(event));
        }
        if (s.at_end) return nullptr;
        WALBROOK_RETURN_IF_ERROR(s.read_window());
    }
}

void FlushEvents::rewind() {
    State& s = *state_;
    s.flush.rewind();
    s.clear();
    s.open.reset();
    s.after.reset();
    s.current.reset();
    s.at_end = false;
}

}  // namespace walbrook
