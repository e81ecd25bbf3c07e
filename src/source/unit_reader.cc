#include "source/unit_reader.h"

#include "base/backoff.h"
#include "decode/value.h"
#include "postgres/quote.h"
#include "postgres/snapshot.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <poll.h>

namespace walbrook {
namespace {

using std::chrono::milliseconds;

constexpr std::chrono::seconds kStatementDeadline{60};
// A COPY that sends nothing for so long has lost its server (TCP keepalive is quicker).
constexpr std::chrono::minutes kSilenceDeadline{10};
constexpr CopyLimits kBatchLimits{.rows_max = 65'536, .bytes_max = 4 << 20};
constexpr std::size_t kReadBytes = 256 << 10;
constexpr std::uint64_t kStepMin = 128;
constexpr std::uint64_t kStepMax = 131'072;  // 1 GiB
constexpr std::uint64_t kBlockBytes = 8192;  // Or what a server was built with: an estimate.

// Rows of a range of the key.
constexpr std::uint64_t kRowsMin = 100;
constexpr std::uint64_t kRowsMax = 100'000'000;

constexpr std::string_view kLockNotAvailable = "55P03";

// Of columns without an exact binary decoder the query sends the text.
bool is_sent_as_text(const ColumnSchema& column) {
    return decoder_for(column, Format::binary) == nullptr;
}

std::vector<DecodeValue> decoders_of(const TableSchema& schema) {
    std::vector<DecodeValue> decoders;
    for (const ColumnSchema& column : schema.columns) {
        decoders.push_back(
            decoder_for(column, is_sent_as_text(column) ? Format::text : Format::binary));
    }
    return decoders;
}

std::string ctid_condition(std::uint64_t first, std::optional<std::uint64_t> end) {
    std::string condition = fmt::format("ctid >= '({},0)'::tid", first);
    if (end) condition += fmt::format(" and ctid < '({},0)'::tid", *end);
    return condition;
}

}  // namespace

Result<bool> has_tid_range_scan(Connection& connection, const PhysicalTable& table,
                                const Deadline& deadline) {
    WALBROOK_TRY(const Rows plan,
                 connection.query(deadline, fmt::format("explain (costs off) select 1 from only {} "
                                                        "where {}",
                                                        quote_qualified(table.schema, table.name),
                                                        ctid_condition(0, 1))));
    for (std::size_t i = 0; i < plan.size(); ++i) {
        if (plan.text(i, 0).find("Tid Range Scan") != std::string_view::npos) return true;
    }
    return false;
}

UnitReader::UnitReader(Connection& connection, CopyUnitRange range, UnitReaderOptions options,
                       std::stop_token stop)
    : connection_(connection),
      range_(std::move(range)),
      options_(std::move(options)),
      stop_(std::move(stop)),
      next_block_(range_.first_block),
      step_(std::clamp(options_.step_blocks, kStepMin, kStepMax)),
      batch_(options_.schema) {
    if (options_.range_bytes != 0 && options_.keys == nullptr) {
        step_ = std::clamp(options_.range_bytes / kBlockBytes, kStepMin, step_);
    }
}

UnitReader::~UnitReader() {
    // In the middle of a COPY the session is of no further use to anybody.
    large_reads_.reset();
    if (in_range_) connection_.close();
}

Result<const RowBatch*> UnitReader::next() {
    if (failed_) return *failed_;
    const auto fail = [&](Error error) -> Error {
        failed_ = error;
        return std::move(error).with_context("read blocks of " + range_.table.name);
    };
    batch_.clear();
    for (;;) {
        if (at_end_) return nullptr;
        if (!in_range_) {
            if (Status status = begin_range(); !status) return fail(std::move(status).error());
        }
        Result<bool> more = read_some();
        if (!more) return fail(std::move(more).error());
        if (!*more) {
            if (Status status = end_range(); !status) return fail(std::move(status).error());
        }
        if (batch_.rows() == 0 || (*more && !parser_->full())) continue;
        if (*more) range_rows_ += batch_.rows();
        if (Status status = options_.on_batch(batch_.rows()); !status) {
            return fail(std::move(status).error());
        }
        return &batch_;
    }
}

Status UnitReader::begin_range() {
    range_expected_ = expected_bytes();
    range_came_ = 0;
    range_rows_ = 0;
    if (options_.before_range) {
        WALBROOK_RETURN_IF_ERROR(options_.before_range(range_expected_));
    }
    Backoff backoff({milliseconds(20), milliseconds(1000)});
    for (;;) {
        const Deadline deadline = within(kStatementDeadline, stop_);
        WALBROOK_RETURN_IF_ERROR(begin_transaction(deadline));
        const Status locked = lock_and_compare(deadline);
        if (locked) break;
        if (connection_.is_open()) {
            WALBROOK_RETURN_IF_ERROR(connection_.exec(deadline, "rollback"));
        }
        if (locked.error().sqlstate() != kLockNotAvailable) return locked;
        WALBROOK_RETURN_IF_ERROR(options_.wait_for_lock(backoff.next()));
        // The user's DDL may be waiting for the short lock of another of our sessions.
        if (Status status = options_.on_batch(0); !status) return status;
    }
    range_began_ = std::chrono::steady_clock::now();
    if (options_.keys != nullptr) {
        WALBROOK_RETURN_IF_ERROR(begin_key_range(within(kStatementDeadline, stop_)));
    }
    WALBROOK_TRY(const std::string statement, copy_statement(now_));
    WALBROOK_RETURN_IF_ERROR(connection_.start_copy(within(kStatementDeadline, stop_), statement));
    parser_ = std::make_unique<BinaryCopyParser>(options_.schema, decoders_of(*options_.schema),
                                                 kBatchLimits);
    large_reads_.emplace(connection_);
    last_bytes_ = now();
    bytes_.clear();
    used_ = 0;
    in_range_ = true;
    return {};
}

Status UnitReader::begin_transaction(const Deadline& deadline) {
    if (options_.keys == nullptr) return import_snapshot(connection_, deadline, options_.snapshot);
    // The snapshot comes with the first query, which is not LOCK TABLE.
    return connection_.exec(deadline, "begin isolation level repeatable read read only");
}

// The end of the range is the key that so many rows further stands.
Status UnitReader::begin_key_range(const Deadline& deadline) {
    WALBROOK_TRY(key_range_.snapshot, read_own_snapshot(connection_, deadline));
    WALBROOK_RETURN_IF_ERROR(options_.check_range(connection_, deadline));
    // Not the whole table for each range, whatever the statistics say.
    WALBROOK_RETURN_IF_ERROR(
        connection_.exec(deadline, "set local enable_seqscan = off; set local enable_sort = off"));
    WALBROOK_TRY(const std::string key, key_name());
    const KeyCursor& at = *options_.keys;
    std::uint64_t rows = at.rows;
    if (options_.range_bytes != 0) {
        rows = std::clamp(options_.range_bytes / at.row_bytes, kRowsMin, rows);
    }
    const std::string beyond =
        at.after ? fmt::format(" where {} > {}", key, quote_literal(*at.after)) : "";
    WALBROOK_TRY(
        const Rows end,
        connection_.query(deadline,
                          fmt::format("select {0}::text from only {1}{2} order by {0} "
                                      "offset {3} limit 1",
                                      key, quote_qualified(range_.table.schema, range_.table.name),
                                      beyond, rows - 1)));
    key_range_.up_to.reset();
    if (!end.empty()) key_range_.up_to = std::string(end.text(0, 0));
    return {};
}

Result<std::string> UnitReader::key_name() const {
    for (const TableShape::Column& column : now_.columns) {
        if (column.attnum == options_.keys->attnum) return quote_identifier(column.name);
    }
    return Error(ErrorCode::aborted, fmt::format("the key of {} was dropped", range_.table.name));
}

Result<std::string> UnitReader::key_condition() const {
    WALBROOK_TRY(const std::string key, key_name());
    std::string condition = "true";
    const KeyCursor& at = *options_.keys;
    if (at.after) condition += fmt::format(" and {} > {}", key, quote_literal(*at.after));
    if (key_range_.up_to) {
        condition += fmt::format(" and {} <= {}", key, quote_literal(*key_range_.up_to));
    }
    return condition;
}

Status UnitReader::lock_and_compare(const Deadline& deadline) {
    const std::string table = quote_qualified(range_.table.schema, range_.table.name);
    WALBROOK_RETURN_IF_ERROR(connection_.exec(
        deadline, fmt::format("lock table only {} in access share mode nowait", table)));
    WALBROOK_TRY(now_, read_current_shape(connection_, deadline, range_.table.id,
                                          range_.table.schema, range_.table.name));
    const auto then =
        std::find_if(options_.shape.physical.begin(), options_.shape.physical.end(),
                     [&](const auto& physical) { return physical.first == range_.table.id.oid; });
    const bool is_same_storage = then != options_.shape.physical.end() &&
                                 now_.physical.size() == 1 && now_.physical.front() == *then;
    if (!is_same_storage) {
        return Error(
            ErrorCode::aborted,
            fmt::format("{} was rewritten or truncated since the snapshot", range_.table.name));
    }
    return {};
}

// Columns by number, so that a rename does not matter; a column that is gone or has
// another type does. Leaves of a partitioned table number theirs anew: by name there.
Result<std::string> UnitReader::copy_statement(const TableShape& now) {
    const bool is_leaf = range_.table.id != options_.schema->id;
    std::string columns;
    for (const ColumnSchema& column : options_.schema->columns) {
        const auto found =
            std::find_if(now.columns.begin(), now.columns.end(), [&](const TableShape::Column& c) {
                return is_leaf ? c.name == column.name : c.attnum == column.attnum;
            });
        // A row description names the base type of a domain.
        const bool is_same =
            found != now.columns.end() &&
            ((found->type_oid == column.type_oid && found->typmod == column.typmod) ||
             (found->type_oid == column.base_type_oid && found->typmod == column.base_typmod));
        if (!is_same) {
            return Error(ErrorCode::aborted,
                         fmt::format("column {} of {} was dropped or changed since the snapshot",
                                     column.name, range_.table.name));
        }
        if (!columns.empty()) columns += ", ";
        const std::string name = quote_identifier(found->name);
        // As its output function prints it, and the stream sends it: for a cast to text somebody
        // may have made another function. A composite of nulls alone is no null.
        columns += is_sent_as_text(column)
                       ? fmt::format("case when num_nulls({0}) = 0 then concat({0}) end", name)
                       : name;
    }
    range_end_ = next_block_ + step_;
    if (!range_.ranges || *range_end_ >= range_.end_block.value_or(range_.size_blocks)) {
        range_end_ = range_.end_block;
    }
    std::string condition = ctid_condition(next_block_, range_end_);
    if (options_.keys != nullptr) {
        WALBROOK_TRY(condition, key_condition());
    }
    if (!options_.row_filter.empty()) condition += " and (" + options_.row_filter + ")";
    return fmt::format("copy (select {} from only {} where {}) to stdout (format binary)", columns,
                       quote_qualified(range_.table.schema, range_.table.name), condition);
}

// Takes what the socket has into the batch. False at the end of this COPY.
Result<bool> UnitReader::read_some() {
    PGconn* conn = connection_.handle();
    const StopEvent stop(stop_);
    for (;;) {
        const std::string_view unread(reinterpret_cast<const char*>(bytes_.data()) + used_,
                                      bytes_.size() - used_);
        WALBROOK_TRY(const std::size_t used, parser_->consume(unread, batch_));
        used_ += used;
        if (parser_->full()) return true;
        // What is left is the beginning of a row: it moves to the front.
        const std::size_t left = bytes_.size() - used_;
        if (left != 0) std::memmove(bytes_.data(), bytes_.data() + used_, left);
        bytes_.resize(left);
        used_ = 0;

        bytes_.reserve(kReadBytes);
        std::size_t got = 0;
        int n = 1;
        while (got < kReadBytes &&
               (n = PQgetlineAsync(conn, reinterpret_cast<char*>(bytes_.data()) + bytes_.size(),
                                   static_cast<int>(kReadBytes - got))) > 0) {
            bytes_.set_size(bytes_.size() + static_cast<std::size_t>(n));
            got += static_cast<std::size_t>(n);
        }
        if (got > 0) {
            range_came_ += got;
            last_bytes_ = now();
            continue;
        }
        if (n == -1) {
            // The end, or an error: finish_copy() tells. Older libpq leave the COPY state
            // only here; newer ones have left it and say so, which does not matter.
            char* none = nullptr;
            (void)PQgetCopyData(conn, &none, 1);
            return false;
        }
        const auto wait =
            wait_for(PQsocket(conn), POLLIN, now() + milliseconds(LargeReads::kPatienceMs), stop);
        if (wait == Wait::stopped) return Error(ErrorCode::cancelled, "stopped while copying");
        if (wait == Wait::timed_out && now() - last_bytes_ > kSilenceDeadline) {
            return Error(ErrorCode::timed_out, "the server sent nothing for ten minutes");
        }
        if (!large_reads_->consume()) return connection_.error("read a copy");
    }
}

Status UnitReader::end_range() {
    large_reads_.reset();
    const Deadline deadline = within(kStatementDeadline, stop_);
    WALBROOK_RETURN_IF_ERROR(connection_.finish_copy(deadline));
    if (!parser_->done() || bytes_.size() != used_) {
        return Error(ErrorCode::malformed, "the copy ended in the middle of a row");
    }
    in_range_ = false;
    WALBROOK_RETURN_IF_ERROR(check_name(deadline));
    WALBROOK_RETURN_IF_ERROR(connection_.exec(deadline, "commit"));
    if (options_.after_range) options_.after_range(range_expected_, range_came_);
    if (options_.keys != nullptr) return end_key_range();
    adapt_step();
    at_end_ = range_end_ == range_.end_block;
    if (!at_end_) next_block_ = *range_end_;
    return {};
}

// COPY takes a name, and ALTER SCHEMA … RENAME, which waits for no lock on a table, may have made
// it that of another one.
Status UnitReader::check_name(const Deadline& deadline) {
    WALBROOK_TRY(const Rows rows,
                 connection_.query(
                     deadline, "select coalesce(to_regclass($1)::oid = $2::oid, false)",
                     quote_qualified(range_.table.schema, range_.table.name), range_.table.id.oid));
    if (rows.text(0, 0) == "t") return {};
    return Error(
        ErrorCode::aborted,
        fmt::format("another table had the name of {} when it was read", range_.table.name));
}

Status UnitReader::end_key_range() {
    range_rows_ += batch_.rows();
    adapt_keys();
    KeyCursor& at = *options_.keys;
    at.after = key_range_.up_to;
    at.at_end = !key_range_.up_to;
    unit_came_ += range_came_;
    at_end_ = at.at_end || unit_came_ >= options_.unit_bytes;
    return options_.after_key_range(key_range_);
}

// As adapt_step().
void UnitReader::adapt_keys() {
    KeyCursor& at = *options_.keys;
    const auto took =
        std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - range_began_);
    const std::uint64_t bytes_max = options_.range_bytes;
    if (range_rows_ != 0) at.row_bytes = std::max<std::uint64_t>(range_came_ / range_rows_, 1);
    if (took > options_.yield / 2 || (bytes_max != 0 && range_came_ > bytes_max)) {
        at.rows = std::max(at.rows / 2, kRowsMin);
    } else if (took < options_.yield / 4 && (bytes_max == 0 || range_came_ * 2 <= bytes_max)) {
        at.rows = std::min(at.rows * 2, kRowsMax);
    }
}

std::uint64_t UnitReader::expected_bytes() const {
    if (options_.keys != nullptr) return options_.keys->rows * options_.keys->row_bytes;
    const std::uint64_t end = range_.end_block.value_or(range_.size_blocks);
    const std::uint64_t left = end > next_block_ ? end - next_block_ : 1;
    return (range_.ranges ? std::min(step_, left) : left) * kBlockBytes;
}

// So many blocks that a range ends before its lock must, and brings no more than is wanted.
void UnitReader::adapt_step() {
    const auto took =
        std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - range_began_);
    // Well below it: rows differ in size, and a busy machine in speed.
    const std::uint64_t bytes_max = options_.range_bytes;
    if (took > options_.yield / 2 || (bytes_max != 0 && range_came_ > bytes_max)) {
        step_ = std::max(step_ / 2, kStepMin);
    } else if (took < options_.yield / 4 && (bytes_max == 0 || range_came_ * 2 <= bytes_max)) {
        step_ = std::min(step_ * 2, kStepMax);
    }
}

}  // namespace walbrook
