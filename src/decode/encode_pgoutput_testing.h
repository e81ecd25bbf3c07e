#pragma once

#include "decode/datetime.h"
#include "decode/encode_testing.h"
#include "decode/pgoutput.h"

#include <string>
#include <variant>

// Messages of pgoutput back into their frames (pgoutput.h has the layout).
namespace walbrook {

class PgoutputEncoder {
 public:
    explicit PgoutputEncoder(bool in_stream) : in_stream_(in_stream) {}

    std::string operator()(const BeginMessage& m) const {
        return 'B' + lsn(m.commit_lsn) + time(m.commit_time_us) + wire(m.xid);
    }
    std::string operator()(const CommitMessage& m) const {
        return 'C' + no_flags() + lsn(m.commit_lsn) + lsn(m.end_lsn) + time(m.commit_time_us);
    }
    std::string operator()(const OriginMessage& m) const {
        return 'O' + lsn(m.origin_lsn) + c_string(m.name);
    }
    std::string operator()(const RelationMessage& m) const {
        std::string out = 'R' + stream_xid(m.xid) + wire(m.oid) + c_string(m.schema) +
                          c_string(m.name) + static_cast<char>(m.replica_identity) +
                          wire(static_cast<std::uint16_t>(m.columns.size()));
        RelationColumn column;
        for (auto each = m.columns.columns(); each.next(column);) {
            out += flag(column.in_identity) + c_string(column.name) + wire(column.type_oid) +
                   wire(column.typmod);
        }
        return out;
    }
    std::string operator()(const TypeMessage& m) const {
        return 'Y' + stream_xid(m.xid) + wire(m.oid) + c_string(m.schema) + c_string(m.name);
    }
    std::string operator()(const InsertMessage& m) const {
        return 'I' + stream_xid(m.xid) + wire(m.relation) + 'N' + tuple(m.new_row);
    }
    std::string operator()(const UpdateMessage& m) const {
        const std::string old =
            m.old_kind == OldRow::none ? "" : static_cast<char>(m.old_kind) + tuple(m.old_row);
        return 'U' + stream_xid(m.xid) + wire(m.relation) + old + 'N' + tuple(m.new_row);
    }
    std::string operator()(const DeleteMessage& m) const {
        return 'D' + stream_xid(m.xid) + wire(m.relation) + static_cast<char>(m.old_kind) +
               tuple(m.old_row);
    }
    std::string operator()(const TruncateMessage& m) const {
        const int options = (m.cascade ? 1 : 0) | (m.restart_identity ? 2 : 0);
        std::string out = 'T' + stream_xid(m.xid) +
                          wire(static_cast<std::uint32_t>(m.relations.size())) +
                          static_cast<char>(options);
        for (std::size_t i = 0; i < m.relations.size(); ++i) out += wire(m.relations[i]);
        return out;
    }
    std::string operator()(const LogicalMessage& m) const {
        return 'M' + stream_xid(m.xid) + flag(m.transactional) + lsn(m.lsn) + c_string(m.prefix) +
               counted(m.content);
    }
    std::string operator()(const StreamStartMessage& m) const {
        return 'S' + wire(m.xid) + flag(m.first_segment);
    }
    std::string operator()(const StreamStopMessage&) const { return "E"; }
    std::string operator()(const StreamCommitMessage& m) const {
        return 'c' + wire(m.xid) + no_flags() + lsn(m.commit_lsn) + lsn(m.end_lsn) +
               time(m.commit_time_us);
    }
    std::string operator()(const StreamAbortMessage& m) const {
        EXPECT_EQ(m.abort_lsn.has_value(), m.abort_time_us.has_value());
        const std::string where = m.abort_lsn ? lsn(*m.abort_lsn) + time(*m.abort_time_us) : "";
        return 'A' + wire(m.xid) + wire(m.subxid) + where;
    }
    std::string operator()(const BeginPrepareMessage& m) const { return 'b' + prepare_fields(m); }
    std::string operator()(const PrepareMessage& m) const {
        return 'P' + no_flags() + prepare_fields(m);
    }
    std::string operator()(const StreamPrepareMessage& m) const {
        return 'p' + no_flags() + prepare_fields(m);
    }
    std::string operator()(const CommitPreparedMessage& m) const {
        return 'K' + no_flags() + lsn(m.commit_lsn) + lsn(m.end_lsn) + time(m.commit_time_us) +
               wire(m.xid) + c_string(m.gid);
    }
    std::string operator()(const RollbackPreparedMessage& m) const {
        return 'r' + no_flags() + lsn(m.prepare_end_lsn) + lsn(m.rollback_end_lsn) +
               time(m.prepare_time_us) + time(m.rollback_time_us) + wire(m.xid) + c_string(m.gid);
    }

 private:
    static std::string lsn(Lsn at) { return wire(at.value); }
    static std::string time(std::int64_t unix_us) { return wire(unix_us - internal::kEpochMicros); }
    static std::string c_string(std::string_view text) { return std::string(text) + '\0'; }
    static std::string flag(bool on) { return std::string(1, on ? '\1' : '\0'); }
    static std::string no_flags() { return flag(false); }
    static std::string counted(std::string_view bytes) {
        return wire(static_cast<std::uint32_t>(bytes.size())) + std::string(bytes);
    }
    std::string stream_xid(std::uint32_t xid) const { return in_stream_ ? wire(xid) : ""; }
    static std::string tuple(const TupleView& row) {
        std::string out = wire(static_cast<std::uint16_t>(row.size()));
        TupleColumn column;
        for (auto each = row.columns(); each.next(column);) {
            out += column.kind;
            if (column.kind == 't' || column.kind == 'b') out += counted(column.bytes);
        }
        return out;
    }
    static std::string prepare_fields(const PrepareFields& m) {
        return lsn(m.prepare_lsn) + lsn(m.end_lsn) + time(m.prepare_time_us) + wire(m.xid) +
               c_string(m.gid);
    }

    bool in_stream_;
};

inline std::string encode_pgoutput(const PgoutputMessage& message, bool in_stream) {
    return std::visit(PgoutputEncoder(in_stream), message);
}

}  // namespace walbrook
