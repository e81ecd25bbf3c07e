#include "decode/pgoutput.h"

#include "decode/datetime.h"

#include <limits>

namespace walbrook {
namespace {

// Microseconds since 2000 to microseconds since 1970.
std::int64_t read_time(Cursor& in) {
    const std::int64_t micros = in.i64();
    if (micros > std::numeric_limits<std::int64_t>::max() - internal::kEpochMicros) {
        in.fail("a time is out of range");
        return 0;
    }
    return micros + internal::kEpochMicros;
}

// Flags that no version defines yet: a server that sets them means something by it.
void expect_no_flags(Cursor& in) {
    if (in.u8() != 0) in.fail("unknown flags are set");
}

std::uint32_t read_stream_xid(Cursor& in, bool in_stream) { return in_stream ? in.u32() : 0; }

ReplicaIdentity read_replica_identity(Cursor& in) {
    const char letter = in.letter();
    switch (letter) {
        case 'd':
        case 'i':
        case 'f':
        case 'n':
            return static_cast<ReplicaIdentity>(letter);
        default:
            in.fail("the replica identity is unknown");
            return ReplicaIdentity::nothing;
    }
}

RelationColumn read_relation_column(Cursor& in) {
    RelationColumn column;
    const unsigned flags = in.u8();
    if (flags > 1) in.fail("unknown flags are set");
    column.in_identity = flags == 1;
    column.name = in.c_string();
    column.type_oid = in.u32();
    column.typmod = in.i32();
    return column;
}

std::string_view as_text(FrameView bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

// Bounds the column count by the bytes left, as every column takes at least its kind.
TupleView read_tuple(Cursor& in) {
    TupleView tuple;
    const std::size_t count = in.u16();
    const FrameView start = in.bytes(0);
    if (count > in.left()) in.fail("a row has more columns than bytes");
    for (std::size_t i = 0; i < count && !in.failed(); ++i) {
        switch (in.letter()) {
            case 'n':
            case 'u':
                break;
            case 't':
            case 'b':
                in.bytes(in.u32());
                break;
            default:
                in.fail("a column has an unknown kind");
        }
    }
    if (in.failed()) return tuple;
    tuple.columns_ = reinterpret_cast<const char*>(start.data());
    tuple.count_ = count;
    return tuple;
}

RelationColumns read_relation_columns(Cursor& in) {
    RelationColumns columns;
    const std::size_t count = in.u16();
    const std::size_t bytes = in.left();
    const FrameView start = in.bytes(0);
    for (std::size_t i = 0; i < count && !in.failed(); ++i) read_relation_column(in);
    if (in.failed()) return columns;
    columns.bytes_ = FrameView(start.data(), bytes - in.left());
    columns.count_ = count;
    return columns;
}

bool RelationColumns::Iterator::next(RelationColumn& column) {
    if (left_ == 0) return false;
    --left_;
    column = read_relation_column(in_);
    return true;
}

OidList read_oids(Cursor& in, std::size_t count) {
    OidList list;
    // A 32-bit count times 4 fits std::size_t.
    list.bytes_ = in.bytes(count * sizeof(std::uint32_t));
    return list;
}

namespace {

BeginMessage read_begin(Cursor& in) {
    BeginMessage message;
    message.commit_lsn = in.lsn();
    message.commit_time_us = read_time(in);
    message.xid = in.u32();
    return message;
}

CommitMessage read_commit(Cursor& in) {
    CommitMessage message;
    expect_no_flags(in);
    message.commit_lsn = in.lsn();
    message.end_lsn = in.lsn();
    message.commit_time_us = read_time(in);
    return message;
}

OriginMessage read_origin(Cursor& in) {
    OriginMessage message;
    message.origin_lsn = in.lsn();
    message.name = in.c_string();
    return message;
}

RelationMessage read_relation(Cursor& in, bool in_stream) {
    RelationMessage message;
    message.xid = read_stream_xid(in, in_stream);
    message.oid = in.u32();
    message.schema = in.c_string();
    message.name = in.c_string();
    message.replica_identity = read_replica_identity(in);
    message.columns = read_relation_columns(in);
    return message;
}

TypeMessage read_type(Cursor& in, bool in_stream) {
    TypeMessage message;
    message.xid = read_stream_xid(in, in_stream);
    message.oid = in.u32();
    message.schema = in.c_string();
    message.name = in.c_string();
    return message;
}

InsertMessage read_insert(Cursor& in, bool in_stream) {
    InsertMessage message;
    message.xid = read_stream_xid(in, in_stream);
    message.relation = in.u32();
    in.expect('N');
    message.new_row = read_tuple(in);
    return message;
}

UpdateMessage read_update(Cursor& in, bool in_stream) {
    UpdateMessage message;
    message.xid = read_stream_xid(in, in_stream);
    message.relation = in.u32();
    const char mark = in.letter();
    if (mark == 'K' || mark == 'O') {
        message.old_kind = static_cast<OldRow>(mark);
        message.old_row = read_tuple(in);
        in.expect('N');
    } else if (mark != 'N') {
        in.fail("a marker byte is wrong");
    }
    message.new_row = read_tuple(in);
    return message;
}

DeleteMessage read_delete(Cursor& in, bool in_stream) {
    DeleteMessage message;
    message.xid = read_stream_xid(in, in_stream);
    message.relation = in.u32();
    const char mark = in.letter();
    if (mark != 'K' && mark != 'O') in.fail("a marker byte is wrong");
    if (!in.failed()) message.old_kind = static_cast<OldRow>(mark);
    message.old_row = read_tuple(in);
    return message;
}

TruncateMessage read_truncate(Cursor& in, bool in_stream) {
    TruncateMessage message;
    message.xid = read_stream_xid(in, in_stream);
    const std::uint32_t count = in.u32();
    const unsigned options = in.u8();
    if (options > 3) in.fail("unknown flags are set");
    message.cascade = (options & 1) != 0;
    message.restart_identity = (options & 2) != 0;
    message.relations = read_oids(in, count);
    return message;
}

LogicalMessage read_logical_message(Cursor& in, bool in_stream) {
    LogicalMessage message;
    message.xid = read_stream_xid(in, in_stream);
    const unsigned flags = in.u8();
    if (flags > 1) in.fail("unknown flags are set");
    message.transactional = flags == 1;
    message.lsn = in.lsn();
    message.prefix = in.c_string();
    message.content = as_text(in.bytes(in.u32()));
    return message;
}

StreamStartMessage read_stream_start(Cursor& in) {
    StreamStartMessage message;
    message.xid = in.u32();
    const unsigned first = in.u8();
    if (first > 1) in.fail("unknown flags are set");
    message.first_segment = first == 1;
    return message;
}

StreamCommitMessage read_stream_commit(Cursor& in) {
    StreamCommitMessage message;
    message.xid = in.u32();
    expect_no_flags(in);
    message.commit_lsn = in.lsn();
    message.end_lsn = in.lsn();
    message.commit_time_us = read_time(in);
    return message;
}

StreamAbortMessage read_stream_abort(Cursor& in) {
    StreamAbortMessage message;
    message.xid = in.u32();
    message.subxid = in.u32();
    // Whether position and time follow depends on the options of the connection; the
    // length of the frame says the same.
    if (in.left() == 0) return message;
    message.abort_lsn = in.lsn();
    message.abort_time_us = read_time(in);
    return message;
}

PrepareFields read_prepare_fields(Cursor& in) {
    PrepareFields fields;
    fields.prepare_lsn = in.lsn();
    fields.end_lsn = in.lsn();
    fields.prepare_time_us = read_time(in);
    fields.xid = in.u32();
    fields.gid = in.c_string();
    return fields;
}

PrepareFields read_flagged_prepare_fields(Cursor& in) {
    expect_no_flags(in);
    return read_prepare_fields(in);
}

CommitPreparedMessage read_commit_prepared(Cursor& in) {
    CommitPreparedMessage message;
    expect_no_flags(in);
    message.commit_lsn = in.lsn();
    message.end_lsn = in.lsn();
    message.commit_time_us = read_time(in);
    message.xid = in.u32();
    message.gid = in.c_string();
    return message;
}

RollbackPreparedMessage read_rollback_prepared(Cursor& in) {
    RollbackPreparedMessage message;
    expect_no_flags(in);
    message.prepare_end_lsn = in.lsn();
    message.rollback_end_lsn = in.lsn();
    message.prepare_time_us = read_time(in);
    message.rollback_time_us = read_time(in);
    message.xid = in.u32();
    message.gid = in.c_string();
    return message;
}

template <class Message>
Result<PgoutputMessage> finish(const Cursor& in, std::string_view name, const Message& message) {
    WALBROOK_RETURN_IF_ERROR(in.finish(name));
    return PgoutputMessage(message);
}

Error unknown_message(unsigned char letter) {
    const bool printable = letter > 0x20 && letter < 0x7F;
    return Error(
        ErrorCode::malformed,
        fmt::format("read the replication stream: unknown pgoutput message {}; use a "
                    "version of walbrook that knows this server",
                    printable ? fmt::format("'{:c}'", letter) : fmt::format("0x{:02x}", letter)));
}

}  // namespace

Result<PgoutputMessage> parse_pgoutput(FrameView frame, bool in_stream) {
    Cursor in(frame);
    if (frame.empty()) return Error(ErrorCode::malformed, "read a pgoutput message: it is empty");
    const char letter = in.letter();
    switch (letter) {
        case 'I':
            return finish(in, "Insert", read_insert(in, in_stream));
        case 'U':
            return finish(in, "Update", read_update(in, in_stream));
        case 'D':
            return finish(in, "Delete", read_delete(in, in_stream));
        case 'B':
            return finish(in, "Begin", read_begin(in));
        case 'C':
            return finish(in, "Commit", read_commit(in));
        case 'R':
            return finish(in, "Relation", read_relation(in, in_stream));
        case 'Y':
            return finish(in, "Type", read_type(in, in_stream));
        case 'O':
            return finish(in, "Origin", read_origin(in));
        case 'T':
            return finish(in, "Truncate", read_truncate(in, in_stream));
        case 'M':
            return finish(in, "Message", read_logical_message(in, in_stream));
        case 'S':
            return finish(in, "Stream Start", read_stream_start(in));
        case 'E':
            return finish(in, "Stream Stop", StreamStopMessage{});
        case 'c':
            return finish(in, "Stream Commit", read_stream_commit(in));
        case 'A':
            return finish(in, "Stream Abort", read_stream_abort(in));
        case 'b':
            return finish(in, "Begin Prepare", BeginPrepareMessage{read_prepare_fields(in)});
        case 'P':
            return finish(in, "Prepare", PrepareMessage{read_flagged_prepare_fields(in)});
        case 'K':
            return finish(in, "Commit Prepared", read_commit_prepared(in));
        case 'r':
            return finish(in, "Rollback Prepared", read_rollback_prepared(in));
        case 'p':
            return finish(in, "Stream Prepare",
                          StreamPrepareMessage{read_flagged_prepare_fields(in)});
        default:
            return unknown_message(static_cast<unsigned char>(letter));
    }
}

}  // namespace walbrook
