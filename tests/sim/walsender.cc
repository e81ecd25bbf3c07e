#include "sim/walsender.h"

#include <algorithm>
#include <charconv>

namespace walbrook::sim {
namespace {

constexpr std::int64_t kPostgresEpochUs = 946'684'800'000'000;

// Builds one frame; numbers in network order (decode/pgoutput.h shows the layouts).
class Frame {
 public:
    explicit Frame(char letter) { bytes_ += letter; }
    Frame& u8(unsigned value) { return number(value, 1); }
    Frame& u16(std::size_t value) { return number(value, 2); }
    Frame& u32(std::uint64_t value) { return number(value & 0xFFFF'FFFF, 4); }
    Frame& u64(std::uint64_t value) { return number(value, 8); }
    Frame& letter(char value) {
        bytes_ += value;
        return *this;
    }
    Frame& text(const std::string& value) {
        bytes_ += value;
        bytes_ += '\0';
        return *this;
    }
    Frame& counted(const std::string& value) {
        u32(value.size());
        bytes_ += value;
        return *this;
    }
    // Subtransaction, inside a stream.
    Frame& xid_if(bool is_streamed, std::uint64_t xid) { return is_streamed ? u32(xid) : *this; }
    Frame& time(std::int64_t unix_us) {
        return u64(static_cast<std::uint64_t>(unix_us - kPostgresEpochUs));
    }
    std::string take() { return std::move(bytes_); }

 private:
    Frame& number(std::uint64_t value, int bytes) {
        for (int i = bytes - 1; i >= 0; --i) {
            bytes_ += static_cast<char>(value >> (8 * i) & 0xFF);
        }
        return *this;
    }
    std::string bytes_;
};

void put_value(Frame& frame, const ColumnSchema& column, const std::string& text, bool is_binary) {
    frame.letter(is_binary ? 'b' : 't');
    const bool is_number =
        column.type.kind == TypeKind::int64 || column.type.kind == TypeKind::int32;
    if (!is_binary || !is_number) {
        frame.counted(text);
        return;
    }
    std::int64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    if (column.type.kind == TypeKind::int64) {
        frame.u32(8).u64(static_cast<std::uint64_t>(value));
    } else {
        frame.u32(4).u32(static_cast<std::uint64_t>(value));
    }
}

// A leaf hears nothing of what becomes of the others.
bool is_same(const Version& told, const Version& now, std::uint32_t relation) {
    if (&told == &now) return true;
    const auto before = told.leaves.find(relation);
    const auto after = now.leaves.find(relation);
    return before != told.leaves.end() && after != now.leaves.end() &&
           before->second == after->second && told.columns == now.columns &&
           told.schema->replica_identity == now.schema->replica_identity;
}

// Under which relations a step's rows are sent.
std::vector<std::uint32_t> relations_of(const Step& step) {
    if (step.leaf != 0) return {step.leaf};
    if (step.before->leaves.empty()) return {step.before->schema->id.oid};
    std::vector<std::uint32_t> relations;
    for (const auto& [oid, file] : step.before->leaves) relations.push_back(oid);
    return relations;
}

enum class Part { whole, key };

void put_tuple(Frame& frame, const TableSchema& schema, const Values& values, Part part,
               bool blob_unchanged, bool is_binary) {
    frame.u16(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        const ColumnSchema& column = schema.columns[i];
        if (!values[i] || (part == Part::key && !column.in_identity)) {
            frame.letter('n');
        } else if (blob_unchanged && i == kBlob) {
            frame.letter('u');
        } else {
            put_value(frame, column, *values[i], is_binary);
        }
    }
}

}  // namespace

Walsender::Walsender(const Source& source, Random& random, WalsenderOptions options, Lsn from,
                     std::size_t restart)
    : source_(source), random_(random), options_(options), from_(from), sent_(from) {
    next_record_ = source.wal().size();
    for (const Tx& tx : source.txs()) {
        if (tx.xid == 0) continue;
        const bool is_over = tx.is_committed ? tx.commit_lsn < from : tx.state == Tx::State::ended;
        if (!is_over) next_record_ = std::min(next_record_, tx.first_record);
    }
    // An aborted transaction may have been streamed: begin with it where it is recent.
    while (next_record_ > 0 && source.wal()[next_record_ - 1].lsn >= from) --next_record_;
    next_record_ -= std::min(next_record_, restart);
}

void Walsender::send(std::string frame) {
    out_.push_back({std::move(frame), {}});
    // A keepalive in the midst of a transaction tells what was dealt with before it.
    if (random_.per_mille(30)) out_.push_back({{}, sent_});
}

std::optional<Walsender::Message> Walsender::next(Lsn limit) {
    while (out_.empty() && next_record_ < source_.wal().size()) {
        const WalRecord& record = source_.wal()[next_record_];
        if (record.end > limit) break;
        ++next_record_;
        decode(record);
        sent_ = std::max(sent_, record.end);
        if (random_.percent(5)) out_.push_back({{}, sent_});
    }
    if (out_.empty()) return std::nullopt;
    Message message = std::move(out_.front());
    out_.pop_front();
    return message;
}

void Walsender::decode(const WalRecord& record) {
    if (record.kind == WalRecord::Kind::other) return;
    const std::size_t index = record.tx;
    const Tx& source = source_.txs()[index];
    Decoded& tx = open_[index];
    switch (record.kind) {
        case WalRecord::Kind::change: {
            tx.changes.push_back(record.op);
            // ReorderBufferCanStartStreaming: not while the reader is behind the start.
            const bool may = options_.streams && source.is_large && record.lsn >= from_;
            if (may && tx.changes.size() >= 5 && random_.percent(25)) stream_chunk(index, tx);
            return;
        }
        case WalRecord::Kind::subabort:
            std::erase_if(tx.changes, [&](const Op* op) { return op->subxid == record.subxid; });
            if (tx.streamed_subxids.contains(record.subxid)) {
                send(Frame('A').u32(source.xid).u32(record.subxid).take());
            }
            return;
        case WalRecord::Kind::abort:
            if (tx.is_streamed) send(Frame('A').u32(source.xid).u32(source.xid).take());
            break;
        case WalRecord::Kind::commit:
            on_commit(record, tx);
            break;
        case WalRecord::Kind::other:
            break;
    }
    open_.erase(index);
}

void Walsender::on_commit(const WalRecord& record, Decoded& tx) {
    const Tx& source = source_.txs()[record.tx];
    if (record.lsn < from_) return;
    if (tx.is_streamed) {
        if (!tx.changes.empty()) stream_chunk(record.tx, tx);
        send(Frame('c')
                 .u32(source.xid)
                 .u8(0)
                 .u64(record.lsn.value)
                 .u64(record.end.value)
                 .time(source.commit_time_us)
                 .take());
        // cleanup_rel_sync_cache(): what the stream has described counts for all now.
        for (const auto& [relation, version] : tx.relations) relations_[relation] = version;
        return;
    }
    const bool is_empty = std::all_of(tx.changes.begin(), tx.changes.end(), [&](const Op* op) {
        return op->kind == OpKind::alter && !options_.tells_ddl;
    });
    if (is_empty && !options_.sends_empty_transactions) return;
    send(Frame('B').u64(record.lsn.value).time(source.commit_time_us).u32(source.xid).take());
    for (const Op* op : tx.changes) send_change(*op, nullptr);
    send(Frame('C')
             .u8(0)
             .u64(record.lsn.value)
             .u64(record.end.value)
             .time(source.commit_time_us)
             .take());
}

void Walsender::stream_chunk(std::size_t index, Decoded& tx) {
    const Tx& source = source_.txs()[index];
    send(Frame('S').u32(source.xid).u8(tx.is_streamed ? 0 : 1).take());
    tx.is_streamed = true;
    for (const Op* op : tx.changes) {
        if (op->subxid != source.xid) tx.streamed_subxids.insert(op->subxid);
        send_change(*op, &tx);
    }
    tx.changes.clear();
    send(Frame('E').take());
}

// Once for a connection, or for a streamed transaction; again after an invalidation.
void Walsender::describe(const Op& op, std::uint32_t relation, const VersionPtr& version,
                         Decoded* streamed) {
    const TableSchema& schema = *version->schema;
    auto& sent = streamed != nullptr ? streamed->relations : relations_;
    const auto found = sent.find(relation);
    const bool is_told = found != sent.end() && is_same(*found->second, *version, relation);
    if (is_told && !random_.percent(2)) return;
    sent[relation] = version;
    Frame frame('R');
    frame.xid_if(streamed != nullptr, op.subxid).u32(relation);
    frame.text(schema.schema);
    frame.text(relation == schema.id.oid ? schema.name : "leaf" + std::to_string(relation));
    frame.letter(static_cast<char>(schema.replica_identity)).u16(schema.columns.size());
    for (const ColumnSchema& column : schema.columns) {
        frame.u8(column.in_identity ? 1 : 0).text(column.name).u32(column.type_oid);
        frame.u32(static_cast<std::uint32_t>(column.typmod));
    }
    send(frame.take());
}

// What walbrook.tell_of_ddl() writes: no trigger fires for VACUUM.
void Walsender::tell_ddl(const Op& op, Decoded* streamed) {
    if (!options_.tells_ddl || op.alter.kind == AlterKind::vacuum_full) return;
    const TableSchema& schema = *op.steps.front().after->schema;
    const bool is_new = op.alter.kind == AlterKind::add_leaf;
    std::string text = "1 " + std::to_string(is_new ? op.alter.leaf : schema.id.oid) + ":";
    for (std::size_t i = 0; i < schema.columns.size(); ++i) {
        text += (i == 0 ? "" : ",") + std::to_string(schema.columns[i].attnum);
    }
    for (const std::string& content : {text, std::string()}) {
        Frame frame('M');
        frame.xid_if(streamed != nullptr, op.subxid).u8(1).u64(sent_.value).text("walbrook");
        send(frame.counted(content).take());
    }
}

void Walsender::send_change(const Op& op, Decoded* streamed) {
    const bool in_stream = streamed != nullptr;
    if (op.kind == OpKind::alter) return tell_ddl(op, streamed);
    if (op.kind == OpKind::truncate) {
        std::vector<std::uint32_t> truncated;
        for (const Step& step : op.steps) {
            for (const std::uint32_t relation : relations_of(step)) {
                describe(op, relation, step.before, streamed);
                truncated.push_back(relation);
            }
        }
        Frame frame('T');
        frame.xid_if(in_stream, op.subxid).u32(truncated.size()).u8(0);
        for (const std::uint32_t relation : truncated) frame.u32(relation);
        return send(frame.take());
    }
    const TableSchemaPtr& schema = op.version->schema;
    const std::uint32_t relation = op.version->leaves.empty() ? schema->id.oid : leaf_of(op.row);
    describe(op, relation, op.version, streamed);
    const bool is_full = schema->replica_identity == ReplicaIdentity::full;
    const bool binary = options_.is_binary;
    Frame frame(op.kind == OpKind::insert ? 'I' : op.kind == OpKind::update ? 'U' : 'D');
    frame.xid_if(in_stream, op.subxid).u32(relation);
    const auto key = key_column(op.table);
    const bool moves = op.kind == OpKind::update && key && op.before[*key] != op.after[*key];
    if (op.kind == OpKind::remove || (op.kind == OpKind::update && (is_full || moves))) {
        frame.letter(is_full ? 'O' : 'K');
        put_tuple(frame, *schema, op.before, is_full ? Part::whole : Part::key, false, binary);
    }
    if (op.kind != OpKind::remove) {
        frame.letter('N');
        Values values = op.after;
        const bool is_unreadable =
            op.table >= kItems && random_.per_mille(options_.unreadable_per_mille);
        if (is_unreadable) {
            options_.on_unreadable(op.table);
            frame.u16(values.size());
            for (std::size_t i = 0; i < values.size(); ++i) frame.letter('t').counted("\xFFx");
        } else {
            put_tuple(frame, *schema, values, Part::whole, op.blob_unchanged, binary);
        }
    }
    send(frame.take());
}

}  // namespace walbrook::sim
