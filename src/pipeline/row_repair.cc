#include "pipeline/row_repair.h"

#include "base/clock.h"
#include "decode/type_table.h"
#include "decode/value.h"
#include "postgres/publication_members.h"
#include "postgres/quote.h"
#include "postgres/snapshot.h"
#include "postgres/snapshot_lock.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>

namespace walbrook {
namespace {

constexpr std::chrono::milliseconds kLockTimeout{2000};
// A copy of the whole table is dearer than to ask again. Nothing is read from the stream meanwhile.
constexpr std::chrono::seconds kLockPatience{5};
constexpr std::chrono::seconds kAnswerMax{5};
constexpr std::size_t kKeysOfStatement = 500;
// They wait in memory until they are flushed.
constexpr std::size_t kRepairBytesMax = 64ULL << 20;

using Keys = std::set<std::vector<std::string>>;

// What is read of one table.
struct TableRead {
    TableSchemaPtr schema;
    std::shared_ptr<RowBatch> keys;
    std::shared_ptr<RowBatch> rows;
    Keys seen;                                             // Those in `keys`,
    std::map<std::vector<std::string>, std::string> read;  // and those in `rows`: where they stand.
};

class Reader {
 public:
    Reader(const PipelineConfig& config, const std::string& snapshot,
           std::chrono::milliseconds at_most, const std::stop_token& stop)
        : config_(config), snapshot_(snapshot), until_(now() + at_most), stop_(stop) {}

    Result<ReadRepairs> read(const std::vector<RowRepair>& repairs);

 private:
    Result<Connection> connect() const {
        Purpose purpose;
        purpose.application_name = application_name(config_.id, "repair");
        // Nothing is read from the stream meanwhile.
        purpose.lock_timeout = kLockTimeout;
        return Connection::open(config_.pg_connection, purpose, deadline());
    }
    Deadline deadline() const {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until_ - now());
        return within(std::max(left, std::chrono::milliseconds(1)), stop_);
    }
    bool is_late() const { return now() >= until_; }
    bool has_lost_one() const {
        return !catalog_->is_open() || !as_of_->is_open() || !contents_->is_open();
    }
    // By a session that has not waited for what was late.
    bool answers() {
        return catalog_->is_open() && catalog_->exec(within(kAnswerMax, stop_), "select 1").ok();
    }
    Result<Replace> read_table(const Publication& publication, const PublishedTable& table,
                               const RowRepair& repair);
    Result<std::map<TableId, std::string>> read_filters(const Publication& publication,
                                                        const PublishedTable& table);
    Status read_physical(const PhysicalTable& physical, const std::string& filter,
                         const std::vector<std::string>& conditions, TableRead& out);
    Status begin(const PhysicalTable& physical);
    Status take(const Rows& rows, const PhysicalTable& physical, TableRead& out);
    Status fits(std::size_t more) const;
    Status count(std::size_t bytes);

    const PipelineConfig& config_;
    const std::string& snapshot_;
    const Instant until_;
    const std::stop_token& stop_;
    // Open from the begin of read() on: see what is there now, what was at the snapshot, the rows.
    std::optional<Connection> catalog_;
    std::optional<Connection> as_of_;
    std::optional<Connection> contents_;
    std::size_t bytes_ = 0;
};

Result<ReadRepairs> Reader::read(const std::vector<RowRepair>& repairs) {
    WALBROOK_TRY(catalog_, connect());
    WALBROOK_TRY(as_of_, connect());
    WALBROOK_TRY(contents_, connect());
    WALBROOK_RETURN_IF_ERROR(import_snapshot(*as_of_, deadline(), snapshot_));
    WALBROOK_TRY(const std::optional<Publication> publication,
                 read_publication(*as_of_, deadline(), config_.publication_name));
    std::map<TableId, PublishedTable> published;
    if (publication) {
        WALBROOK_TRY(std::vector<PublishedTable> tables,
                     read_published_tables(*as_of_, deadline(), *publication));
        for (PublishedTable& table : tables) published.emplace(table.id, std::move(table));
    }
    ReadRepairs out;
    const std::string kLate =
        "its rows could not be read in the time for which the stream may stand still";
    for (const RowRepair& repair : repairs) {
        if (is_late()) {
            out.refused.emplace_back(repair.table, kLate);
            continue;
        }
        const auto found = published.find(repair.table);
        if (found == published.end()) {
            out.refused.emplace_back(repair.table, "it is not published any more");
            continue;
        }
        const std::size_t bytes_before = bytes_;
        auto made = read_table(*publication, found->second, repair);
        // What is refused takes no memory from the others.
        if (!made) bytes_ = bytes_before;
        if (made) {
            out.repairs.push_back(*std::move(made));
            continue;
        }
        // No fault of the table's, which would be copied as a whole: all of it is tried again.
        const bool is_of_source = is_late() ? !answers() : has_lost_one();
        if (is_of_source || made.error().code() == ErrorCode::cancelled) {
            return std::move(made).error();
        }
        if (!is_late()) contents_->exec(deadline(), "rollback").ignore();
        out.refused.emplace_back(repair.table, is_late() ? kLate : made.error().message());
    }
    return out;
}

Status Reader::fits(std::size_t more) const {
    if (bytes_ + more <= kRepairBytesMax) return {};
    return Error(ErrorCode::unsupported_value,
                 fmt::format("the rows that differ have more than {} MiB", kRepairBytesMax >> 20));
}

Status Reader::count(std::size_t bytes) {
    bytes_ += bytes;
    return fits(0);
}

// The columns of the key as a row.
std::string key_tuple(const TableSchema& schema) {
    std::string names;
    for (const std::size_t i : schema.key_columns()) {
        if (!names.empty()) names += ", ";
        names += quote_identifier(schema.columns[i].name);
    }
    return "(" + names + ")";
}

Status append_text(const TableSchema& schema, std::size_t column, std::string_view text,
                   RowBatch& out) {
    const ColumnSchema& described = schema.columns[column];
    return decoder_for(described, Format::text)(described, text, out.columns()[column]);
}

// Keys came as text from whoever compared: those that the decoders do not take as Postgres' own
// would name other rows.
Status append_key(const TableSchema& schema, const std::vector<std::string>& key, RowBatch& out) {
    const std::vector<std::size_t> places = schema.key_columns();
    if (key.size() != places.size()) {
        return Error(ErrorCode::schema_mismatch, "its key has changed");
    }
    for (std::size_t i = 0; i < schema.columns.size(); ++i) {
        const auto place = std::find(places.begin(), places.end(), i);
        if (place == places.end()) {
            out.columns()[i].append_null();
            continue;
        }
        WALBROOK_RETURN_IF_ERROR(
            append_text(schema, i, key[static_cast<std::size_t>(place - places.begin())], out));
    }
    return {};
}

// As Postgres printed them.
std::vector<std::string> key_text(const std::vector<std::size_t>& places, const Rows& rows,
                                  std::size_t row) {
    std::vector<std::string> key;
    for (const std::size_t i : places) key.emplace_back(rows.text(row, i));
    return key;
}

// "("id", "day") in (('1', '2026-01-01'), …)", for so many keys at once.
std::vector<std::string> conditions(const TableSchema& schema, const Keys& keys) {
    std::vector<std::string> made;
    std::size_t count = 0;
    for (const std::vector<std::string>& key : keys) {
        if (count++ % kKeysOfStatement == 0) made.push_back(key_tuple(schema) + " in (");
        std::string literals;
        for (const std::string& value : key) {
            literals += (literals.empty() ? "" : ", ") + quote_literal(value);
        }
        made.back() += (made.back().ends_with(" in (") ? "(" : ", (") + literals + ")";
    }
    for (std::string& condition : made) condition += ")";
    return made;
}

// Not in as_of_'s transaction, which would end where a lock is not to be had.
Result<std::map<TableId, std::string>> Reader::read_filters(const Publication& publication,
                                                            const PublishedTable& table) {
    if (!table.is_filtered) return std::map<TableId, std::string>();
    WALBROOK_RETURN_IF_ERROR(import_snapshot(*contents_, deadline(), snapshot_));
    WALBROOK_TRY(auto filters, read_row_filters(*contents_, deadline(), publication, table));
    WALBROOK_RETURN_IF_ERROR(contents_->exec(deadline(), "commit"));
    return filters;
}

Result<Replace> Reader::read_table(const Publication& publication, const PublishedTable& table,
                                   const RowRepair& repair) {
    if (!table.problem.empty()) return Error(ErrorCode::schema_mismatch, table.problem);
    WALBROOK_TRY(TableSchema read,
                 read_table_schema(*as_of_, deadline(),
                                   {table.id, table.attnums, table.identity, table.is_partly}));
    for (ColumnSchema& column : read.columns) WALBROOK_RETURN_IF_ERROR(resolve_type(column));
    TableRead out;
    out.schema = std::make_shared<const TableSchema>(std::move(read));
    if (out.schema->key_columns().empty() || table.is_partly) {
        return Error(ErrorCode::schema_mismatch, "its rows have no key");
    }
    const Keys asked(repair.keys.begin(), repair.keys.end());
    out.keys = std::make_shared<RowBatch>(out.schema);
    out.rows = std::make_shared<RowBatch>(out.schema);
    for (const auto& key : asked) WALBROOK_RETURN_IF_ERROR(append_key(*out.schema, key, *out.keys));
    WALBROOK_RETURN_IF_ERROR(count(out.keys->bytes()));
    out.seen = asked;
    WALBROOK_TRY(auto filters, read_filters(publication, table));
    for (const PhysicalTable& physical : table.physical) {
        Status status =
            read_physical(physical, filters[physical.id], conditions(*out.schema, asked), out);
        if (!status) return std::move(status).error().with_context("read " + physical.name);
    }
    return Replace{out.schema, out.keys, out.rows};
}

// A transaction with the snapshot and the lock.
Status Reader::begin(const PhysicalTable& physical) {
    WALBROOK_TRY(const TableShape shape, read_shape(*as_of_, deadline(), physical.id));
    return lock_patiently(physical, kLockPatience, stop_, [&]() -> Result<bool> {
        WALBROOK_RETURN_IF_ERROR(import_snapshot(*contents_, deadline(), snapshot_));
        return lock_as_in_snapshot(*contents_, *catalog_, deadline(), physical, shape);
    });
}

Status Reader::read_physical(const PhysicalTable& physical, const std::string& filter,
                             const std::vector<std::string>& conditions, TableRead& out) {
    WALBROOK_RETURN_IF_ERROR(begin(physical));
    std::string columns;
    for (const ColumnSchema& column : out.schema->columns) {
        columns += (columns.empty() ? "" : ", ") + quote_identifier(column.name);
    }
    for (const std::string& condition : conditions) {
        if (is_late()) return Error(ErrorCode::timed_out, "its time is over");
        const std::string from = " from only " + quote_qualified(physical.schema, physical.name) +
                                 " where " + condition +
                                 (filter.empty() ? "" : " and (" + filter + ")");
        // First how large they are: an answer comes as a whole.
        WALBROOK_TRY(const Rows size,
                     contents_->query(deadline(), "select coalesce(sum(octet_length(row(" +
                                                      columns + ")::text)), 0)::bigint" + from));
        Fields fields(size, 0);
        const std::int64_t bytes = fields.i64();
        WALBROOK_RETURN_IF_ERROR(fields.finish("ask how large the rows are"));
        WALBROOK_RETURN_IF_ERROR(fits(static_cast<std::size_t>(bytes)));
        WALBROOK_TRY(const Rows rows,
                     contents_->query(deadline(), "select " + columns + ", ctid" + from));
        WALBROOK_RETURN_IF_ERROR(take(rows, physical, out));
    }
    return contents_->exec(deadline(), "commit");
}

Status Reader::take(const Rows& rows, const PhysicalTable& physical, TableRead& out) {
    const std::vector<std::size_t> places = out.schema->key_columns();
    const std::size_t before = out.rows->bytes() + out.keys->bytes();
    for (std::size_t row = 0; row < rows.size(); ++row) {
        const std::vector<std::string> key = key_text(places, rows, row);
        const std::string place =
            fmt::format("{} {}", physical.id.oid, rows.text(row, out.schema->columns.size()));
        if (const auto [found, is_new] = out.read.emplace(key, place); !is_new) {
            if (found->second == place) continue;  // Asked for in two ways.
            // Its index is damaged, as after a change of the collations' library.
            return Error(ErrorCode::schema_mismatch, "several of its rows have one key");
        }
        for (std::size_t i = 0; i < out.schema->columns.size(); ++i) {
            if (rows.is_null(row, i)) {
                out.rows->columns()[i].append_null();
            } else {
                WALBROOK_RETURN_IF_ERROR(append_text(*out.schema, i, rows.text(row, i), *out.rows));
            }
        }
        // The source takes it for equal to one that was asked for, and writes it differently.
        if (out.seen.insert(key).second) {
            WALBROOK_RETURN_IF_ERROR(append_key(*out.schema, key, *out.keys));
        }
    }
    return count(out.rows->bytes() + out.keys->bytes() - before);
}

}  // namespace

Result<ReadRepairs> read_repairs(const PipelineConfig& config, const std::string& snapshot,
                                 const std::vector<RowRepair>& repairs,
                                 std::chrono::milliseconds at_most, const std::stop_token& stop) {
    return Reader(config, snapshot, at_most, stop).read(repairs);
}

}  // namespace walbrook
