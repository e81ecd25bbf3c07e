#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "decode/cursor.h"
#include "walbrook/lsn.h"
#include "walbrook/result.h"
#include "walbrook/schema.h"

// The messages of pgoutput, protocol versions 1 to 4 (Postgres manual, "Logical
// Replication Message Formats"). A frame is what one XLogData message carries: a type
// byte and the fields below, numbers in network order, strings ending in a zero byte.
// Inside a streamed transaction (between Stream Start and Stop) the messages marked *
// have the 32-bit xid of their subtransaction right after the type byte.
//
//   B  begin            lsn final, i64 time, i32 xid
//   C  commit           i8 flags, lsn commit, lsn end, i64 time
//   O  origin           lsn commit at the origin, string name
//   R* relation         i32 oid, string schema, string name, i8 replica identity,
//                       i16 n, n times: i8 flags, string name, i32 type, i32 typmod
//   Y* type             i32 oid, string schema, string name
//   I* insert           i32 oid, 'N' tuple
//   U* update           i32 oid, maybe 'K' or 'O' tuple, 'N' tuple
//   D* delete           i32 oid, 'K' or 'O' tuple
//   T* truncate         i32 n, i8 options, n times i32 oid
//   M* message          i8 flags, lsn, string prefix, i32 size, bytes
//   S  stream start     i32 xid, i8 first segment
//   E  stream stop
//   c  stream commit    i32 xid, i8 flags, lsn commit, lsn end, i64 time
//   A  stream abort     i32 xid, i32 subxid; protocol 4 with streaming parallel: lsn
//                       abort, i64 time
//   b  begin prepare    lsn prepare, lsn end, i64 time, i32 xid, string gid
//   P  prepare          i8 flags, lsn prepare, lsn end, i64 time, i32 xid, string gid
//   K  commit prepared  i8 flags, lsn commit, lsn end, i64 time, i32 xid, string gid
//   r  rollback prep.   i8 flags, lsn prepare end, lsn rollback end, i64 prepare time,
//                       i64 rollback time, i32 xid, string gid
//   p  stream prepare   i8 flags, lsn prepare, lsn end, i64 time, i32 xid, string gid
//
//   tuple: i16 n, n times: 'n' null | 'u' unchanged TOAST | 't' or 'b', i32 size, bytes
//
// Times arrive as microseconds since 2000-01-01 and are handed out since 1970-01-01.
// Everything handed out is a view into the frame and dies with it.
namespace walbrook {

struct TupleColumn {
    char kind = 'n';         // 'n' null, 'u' unchanged TOAST, 't' text, 'b' binary.
    std::string_view bytes;  // Empty for 'n' and 'u'.
};

// The columns of one row, walked without a copy. Only the parser makes one, and only
// after it has checked the whole tuple, so that walking cannot fail.
class TupleView {
 public:
    TupleView() = default;

    std::size_t size() const { return count_; }

    class Iterator {
     public:
        // False after the last column.
        bool next(TupleColumn& column) {
            if (left_ == 0) return false;
            --left_;
            column.kind = *at_++;
            column.bytes = {};
            if (column.kind == 't' || column.kind == 'b') {
                const auto size = internal::load_big_endian<std::uint32_t>(at_);
                column.bytes = {at_ + sizeof size, size};
                at_ += sizeof size + size;
            }
            return true;
        }

     private:
        friend class TupleView;
        Iterator(const char* at, std::size_t left) : at_(at), left_(left) {}
        const char* at_;
        std::size_t left_;
    };
    Iterator columns() const { return {columns_, count_}; }

 private:
    friend TupleView read_tuple(Cursor& in);
    const char* columns_ = nullptr;
    std::size_t count_ = 0;
};

struct RelationColumn {
    bool in_identity = false;  // Flag bit 1: part of the replica identity.
    std::string_view name;
    std::uint32_t type_oid = 0;
    std::int32_t typmod = -1;
};

// The columns of a relation message; checked like a TupleView.
class RelationColumns {
 public:
    RelationColumns() = default;

    std::size_t size() const { return count_; }

    class Iterator {
     public:
        bool next(RelationColumn& column);

     private:
        friend class RelationColumns;
        Iterator(FrameView bytes, std::size_t left) : in_(bytes), left_(left) {}
        Cursor in_;
        std::size_t left_;
    };
    Iterator columns() const { return {bytes_, count_}; }

 private:
    friend RelationColumns read_relation_columns(Cursor& in);
    FrameView bytes_;
    std::size_t count_ = 0;
};

// Table oids of a truncate.
class OidList {
 public:
    OidList() = default;
    std::size_t size() const { return bytes_.size() / sizeof(std::uint32_t); }
    std::uint32_t operator[](std::size_t i) const {
        return internal::load_big_endian<std::uint32_t>(bytes_.data() + i * sizeof(std::uint32_t));
    }

 private:
    friend OidList read_oids(Cursor& in, std::size_t count);
    FrameView bytes_;
};

struct BeginMessage {
    Lsn commit_lsn;  // Start of the commit record: known, as transactions come whole.
    std::int64_t commit_time_us = 0;
    std::uint32_t xid = 0;
};

struct CommitMessage {
    Lsn commit_lsn;
    Lsn end_lsn;
    std::int64_t commit_time_us = 0;
};

struct OriginMessage {
    Lsn origin_lsn;
    std::string_view name;
};

// `xid` in this and the messages below that can be streamed: the (sub)transaction
// inside a stream, else 0.
struct RelationMessage {
    std::uint32_t xid = 0;
    std::uint32_t oid = 0;
    std::string_view schema;  // Empty for pg_catalog.
    std::string_view name;
    ReplicaIdentity replica_identity = ReplicaIdentity::default_key;
    RelationColumns columns;
};

struct TypeMessage {
    std::uint32_t xid = 0;
    std::uint32_t oid = 0;
    std::string_view schema;
    std::string_view name;
};

struct InsertMessage {
    std::uint32_t xid = 0;
    std::uint32_t relation = 0;
    TupleView new_row;
};

// What an old tuple holds.
enum class OldRow : char {
    none = 0,
    key = 'K',   // The columns of the replica identity; the others are null.
    full = 'O',  // REPLICA IDENTITY FULL.
};

struct UpdateMessage {
    std::uint32_t xid = 0;
    std::uint32_t relation = 0;
    OldRow old_kind = OldRow::none;
    TupleView old_row;
    TupleView new_row;
};

struct DeleteMessage {
    std::uint32_t xid = 0;
    std::uint32_t relation = 0;
    OldRow old_kind = OldRow::key;
    TupleView old_row;
};

struct TruncateMessage {
    std::uint32_t xid = 0;
    bool cascade = false;
    bool restart_identity = false;
    OidList relations;
};

// pg_logical_emit_message().
struct LogicalMessage {
    std::uint32_t xid = 0;
    bool transactional = false;
    Lsn lsn;
    std::string_view prefix;
    std::string_view content;
};

struct StreamStartMessage {
    std::uint32_t xid = 0;
    bool first_segment = false;
};

struct StreamStopMessage {};

struct StreamCommitMessage {
    std::uint32_t xid = 0;
    Lsn commit_lsn;
    Lsn end_lsn;
    std::int64_t commit_time_us = 0;
};

struct StreamAbortMessage {
    std::uint32_t xid = 0;
    std::uint32_t subxid = 0;  // Equals xid when the whole transaction is gone.
    std::optional<Lsn> abort_lsn;
    std::optional<std::int64_t> abort_time_us;
};

// Begin Prepare, Prepare and Stream Prepare carry the same.
struct PrepareFields {
    Lsn prepare_lsn;
    Lsn end_lsn;
    std::int64_t prepare_time_us = 0;
    std::uint32_t xid = 0;
    std::string_view gid;
};
struct BeginPrepareMessage : PrepareFields {};
struct PrepareMessage : PrepareFields {};
struct StreamPrepareMessage : PrepareFields {};

struct CommitPreparedMessage {
    Lsn commit_lsn;
    Lsn end_lsn;
    std::int64_t commit_time_us = 0;
    std::uint32_t xid = 0;
    std::string_view gid;
};

struct RollbackPreparedMessage {
    Lsn prepare_end_lsn;
    Lsn rollback_end_lsn;
    std::int64_t prepare_time_us = 0;
    std::int64_t rollback_time_us = 0;
    std::uint32_t xid = 0;
    std::string_view gid;
};

using PgoutputMessage =
    std::variant<BeginMessage, CommitMessage, OriginMessage, RelationMessage, TypeMessage,
                 InsertMessage, UpdateMessage, DeleteMessage, TruncateMessage, LogicalMessage,
                 StreamStartMessage, StreamStopMessage, StreamCommitMessage, StreamAbortMessage,
                 BeginPrepareMessage, PrepareMessage, CommitPreparedMessage,
                 RollbackPreparedMessage, StreamPrepareMessage>;

// Parses one frame, all of it: a lying length anywhere is ErrorCode::malformed, and so
// is a message that we do not know, because nothing behind it may be confirmed.
// `in_stream` says whether the last of Stream Start and Stream Stop was a Start.
// Allocates only for an error.
Result<PgoutputMessage> parse_pgoutput(FrameView frame, bool in_stream);

}  // namespace walbrook
