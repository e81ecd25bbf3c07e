#include "postgres/snapshot.h"

#include "base/clock.h"
#include "postgres/quote.h"
#include "postgres/slots.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace walbrook {
namespace {

constexpr std::chrono::milliseconds kPgXactInterval{10};

// One number at the front of `text`, followed by `end` (or by nothing when '\0').
bool take_number(std::string_view& text, char end, std::uint64_t& number) {
    const char* const last = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), last, number);
    if (error != std::errc()) return false;
    if (end == '\0') {
        text = {};
        return stop == last;
    }
    if (stop == last || *stop != end) return false;
    text.remove_prefix(static_cast<std::size_t>(stop - text.data()) + 1);
    return true;
}

// A statement of its own, so that the position is read after the snapshot.
Result<Lsn> position_after(Connection& connection, const Deadline& deadline,
                           std::string_view snapshot) {
    WALBROOK_TRY(const Rows after, connection.query(deadline,
                                                    "select pg_current_wal_insert_lsn(),"
                                                    " pg_current_snapshot()::text"));
    Fields fields(after, 0);
    const Lsn position = fields.lsn();
    const std::string again = fields.text();
    WALBROOK_RETURN_IF_ERROR(fields.finish("read the WAL insert position"));
    if (again != snapshot) {
        return Error(ErrorCode::internal, "the transaction does not keep its snapshot");
    }
    return position;
}

}  // namespace

Result<SnapshotXids> SnapshotXids::parse(std::string_view text) {
    const Error malformed(
        ErrorCode::malformed,
        fmt::format("the text of a snapshot cannot be read: {}", text.substr(0, 200)));
    SnapshotXids xids;
    std::string_view rest = text;
    if (!take_number(rest, ':', xids.xmin_) || !take_number(rest, ':', xids.xmax_)) {
        return malformed;
    }
    while (!rest.empty()) {
        std::uint64_t xid = 0;
        const bool last = rest.find(',') == std::string_view::npos;
        if (!take_number(rest, last ? '\0' : ',', xid)) return malformed;
        if (!last && rest.empty()) return malformed;
        if (xid < xids.xmin_ || xid >= xids.xmax_) return malformed;
        xids.in_progress_.push_back(xid);
    }
    // Of a slot: snapbuild.c moves xmin on with every record of running transactions, and xmax
    // only with commits, so that aborted ones may lie between. What is below xmin has ended, and
    // nothing above is shown (XidInMVCCSnapshot() asks in this order).
    xids.xmax_ = std::max(xids.xmin_, xids.xmax_);
    std::sort(xids.in_progress_.begin(), xids.in_progress_.end());
    return xids;
}

bool SnapshotXids::visible(std::uint32_t xid) const {
    const std::uint32_t distance = xid - static_cast<std::uint32_t>(xmax_);
    // The upper half of the circle lies before xmax, the lower half from it on.
    if (distance < 0x8000'0000U) return false;
    const std::uint64_t behind = 0x1'0000'0000ULL - distance;
    if (behind > xmax_) return false;  // Before the first xid of all: it is yet to come.
    return !std::binary_search(in_progress_.begin(), in_progress_.end(), xmax_ - behind);
}

// Below the older one's xmax nothing is in progress here that was not there.
bool SnapshotXids::shows_all_of(const SnapshotXids& older) const {
    if (xmax_ < older.xmax_) return false;
    return std::all_of(in_progress_.begin(), in_progress_.end(), [&](std::uint64_t xid) {
        return xid >= older.xmax_ ||
               std::binary_search(older.in_progress_.begin(), older.in_progress_.end(), xid);
    });
}

Result<SnapshotHolder> SnapshotHolder::open(const PgConnectionConfig& config,
                                            const Purpose& purpose, const Deadline& deadline) {
    WALBROOK_TRY(Connection connection, Connection::open(config, purpose, deadline));
    SnapshotHolder holder(std::move(connection));
    if (auto status = holder.take(deadline); !status) {
        return std::move(status).error().with_context("take a snapshot");
    }
    return holder;
}

Status SnapshotHolder::take(const Deadline& deadline) {
    WALBROOK_TRY(const Rows recovery, connection_.query(deadline, "select pg_is_in_recovery()"));
    if (recovery.text(0, 0) != "f") {
        return Error(ErrorCode::config,
                     "the server is a standby, whose snapshots do not tell what is in progress");
    }
    WALBROOK_RETURN_IF_ERROR(
        connection_.exec(deadline, "begin isolation level repeatable read read only"));
    WALBROOK_TRY(
        const Rows taken,
        connection_.query(deadline, "select pg_current_snapshot()::text, pg_export_snapshot()"));
    name_ = taken.text(0, 1);
    WALBROOK_TRY(xids_, SnapshotXids::parse(taken.text(0, 0)));
    WALBROOK_TRY(position_, position_after(connection_, deadline, taken.text(0, 0)));
    shown_ = xids_;
    return {};
}

Result<OwnSnapshot> read_own_snapshot(Connection& connection, const Deadline& deadline) {
    WALBROOK_TRY(
        const Rows taken,
        connection.query(deadline, "select pg_current_snapshot()::text, pg_is_in_recovery()"));
    if (taken.text(0, 1) != "f") {
        return Error(ErrorCode::aborted,
                     "the server is a standby, whose snapshots do not tell what is in progress");
    }
    OwnSnapshot own;
    WALBROOK_TRY(own.xids, SnapshotXids::parse(taken.text(0, 0)));
    WALBROOK_TRY(own.position, position_after(connection, deadline, taken.text(0, 0)));
    return own;
}

Result<SnapshotHolder> SnapshotHolder::open_at_standby(const PgConnectionConfig& config,
                                                       const Purpose& purpose,
                                                       const Deadline& deadline,
                                                       const std::string& slot) {
    bool is_standby = false;
    WALBROOK_TRY(SnapshotHolder holder, open_at_slot(config, purpose, deadline, slot, is_standby));
    if (!is_standby) {
        return Error(ErrorCode::aborted, "the standby was promoted while its snapshot was taken")
            .with_context("take a snapshot");
    }
    return holder;
}

Result<SnapshotHolder> SnapshotHolder::open_at_position(const PgConnectionConfig& config,
                                                        const Purpose& purpose,
                                                        const Deadline& deadline,
                                                        const std::string& slot) {
    bool is_standby = false;
    WALBROOK_TRY(SnapshotHolder holder, open_at_slot(config, purpose, deadline, slot, is_standby));
    if (is_standby) return holder;
    WALBROOK_TRY(Connection other, Connection::open(config, purpose, deadline));
    if (auto status = holder.wait_for_pg_xact(other, deadline); !status) {
        return std::move(status).error().with_context("take a snapshot at a position");
    }
    return holder;
}

Result<SnapshotHolder> SnapshotHolder::open_at_slot(const PgConnectionConfig& config,
                                                    const Purpose& purpose,
                                                    const Deadline& deadline,
                                                    const std::string& slot, bool& is_standby) {
    Purpose exporting = purpose;
    exporting.replication = true;
    WALBROOK_TRY(Connection walsender, Connection::open(config, exporting, deadline));
    WALBROOK_TRY(const ExportingSlot made, create_exporting_slot(walsender, deadline, slot));
    WALBROOK_TRY(Connection connection, Connection::open(config, purpose, deadline));
    SnapshotHolder holder(std::move(connection));
    if (auto status = holder.take_from(made, deadline, is_standby); !status) {
        return std::move(status).error().with_context("take a snapshot");
    }
    return holder;
}

// Exported once more: the slot's own export ends with the slot, which holds back WAL.
Status SnapshotHolder::take_from(const ExportingSlot& slot, const Deadline& deadline,
                                 bool& is_standby) {
    WALBROOK_RETURN_IF_ERROR(import_snapshot(connection_, deadline, slot.snapshot));
    WALBROOK_TRY(const Rows taken,
                 connection_.query(deadline,
                                   "select pg_export_snapshot(), pg_is_in_recovery(),"
                                   " pg_current_snapshot()::text"));
    name_ = taken.text(0, 0);
    is_standby = taken.text(0, 1) == "t";
    WALBROOK_TRY(xids_, SnapshotXids::parse(taken.text(0, 2)));
    position_ = slot.consistent_point;
    shown_ = ShownTransactions::before(position_);
    return {};
}

// A transaction leaves the list of those in progress after its end, and that of its
// subtransactions, is in pg_xact (CommitTransaction() in xact.c). The newest one of all is in no
// list: it lies behind the live snapshot's xmax until then (GetSnapshotData() in procarray.c).
// Whoever read its rows before that would mark them as those of an aborted one, for everybody and
// for ever (HeapTupleSatisfiesMVCC() in heapam_visibility.c).
Status SnapshotHolder::wait_for_pg_xact(Connection& other, const Deadline& deadline) const {
    for (;;) {
        WALBROOK_TRY(const Rows rows, other.query(deadline, "select pg_current_snapshot()::text"));
        WALBROOK_TRY(const SnapshotXids live, SnapshotXids::parse(rows.text(0, 0)));
        if (live.shows_all_of(xids_)) return {};
        if (now() + kPgXactInterval >= deadline.at) {
            return Error(ErrorCode::timed_out,
                         "a transaction that has committed does not end; is a synchronous standby "
                         "away?");
        }
        if (!sleep_for(kPgXactInterval, deadline.stop)) {
            return Error(ErrorCode::cancelled, "stopped while a snapshot was taken");
        }
    }
}

Status SnapshotHolder::check(const Deadline& deadline) {
    auto alive = connection_.query(deadline, "select 1");
    if (alive) return {};
    const ErrorCode code = alive.error().code();
    if (code == ErrorCode::cancelled) return std::move(alive).error();
    return Error(ErrorCode::aborted,
                 "the session that holds the snapshot is gone: " + alive.error().message())
        .with_sqlstate(alive.error().sqlstate());
}

Status import_snapshot(Connection& connection, const Deadline& deadline, const std::string& name) {
    WALBROOK_RETURN_IF_ERROR(
        connection.exec(deadline, "begin isolation level repeatable read read only"));
    const Status imported =
        connection.exec(deadline, "set transaction snapshot " + quote_literal(name));
    if (imported) return {};
    // Its own failure ends the session, which the next call reports.
    connection.exec(deadline, "rollback").ignore();
    const Error& error = imported.error();
    // 22023 up to 16, 42704 from 17 on; 55000 when the exporting session ended meanwhile.
    const std::string& state = error.sqlstate();
    if (state != "22023" && state != "42704" && state != "55000") {
        return Error(error).with_context("import a snapshot");
    }
    return Error(ErrorCode::aborted, "the snapshot does not exist any more: " + error.message())
        .with_sqlstate(state);
}

}  // namespace walbrook
