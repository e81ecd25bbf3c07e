#include "journal_destination.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <sys/file.h>
#include <unistd.h>
#include <walbrook/events.h>

namespace {

using namespace walbrook;

std::string json_string(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        if (static_cast<unsigned char>(c) >= 0x20) {
            out += c;
        } else {
            char code[8];
            std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
            out += code;
        }
    }
    return out + '"';
}

std::string hex(std::string_view bytes) {
    std::string out = "\\x";
    for (const char c : bytes) {
        char code[4];
        std::snprintf(code, sizeof code, "%02x",
                      static_cast<unsigned>(static_cast<unsigned char>(c)));
        out += code;
    }
    return out;
}

// "note":null
Result<std::string> json_of(const Cell& cell) {
    const std::string name = json_string(cell.schema().name) + ":";
    if (cell.is_null()) return name + "null";
    if (cell.schema().type == ColumnType{TypeKind::bytes}) {
        WALBROOK_TRY(const std::string_view bytes, cell.get<std::string_view>());
        return name + json_string(hex(bytes));
    }
    WALBROOK_TRY(const std::string text, cell.get<std::string>());
    return name + json_string(text);
}

// {"id":"1","note":null}. Only what identifies the row where `key_only`.
Result<std::string> json_of(const RowView& row, bool key_only) {
    const std::vector<std::size_t> key = row.schema().key_columns();
    std::string out;
    for (std::size_t i = 0; i < row.size(); ++i) {
        const bool is_key = std::find(key.begin(), key.end(), i) != key.end();
        if (row.cell(i).is_unchanged() || (key_only && !is_key)) continue;
        WALBROOK_TRY(const std::string member, json_of(row.cell(i)));
        out += (out.empty() ? "" : ",") + member;
    }
    return "{" + out + "}";
}

// The beginning of a line about a table.
std::string line(std::string_view op, const TableSchema& table) {
    return "{\"op\":" + json_string(op) + ",\"table\":" + json_string(table.display_name()) +
           ",\"oid\":" + json_string(std::to_string(table.id.oid));
}

std::string line(std::string_view op, const TableSchema& table, const EventKey& key) {
    return line(op, table) + ",\"lsn\":" + json_string(to_string(key.commit_lsn)) +
           ",\"ordinal\":" + std::to_string(key.ordinal);
}

std::string schema_line(const TableSchema& table) {
    return "{\"op\":\"schema\",\"schema\":" + to_json(table) + "}\n";
}

// What the first line says: the form of the journal, and whose it is.
constexpr int kFormat = 1;
std::string lineage_of(const PipelineIdentity& who) {
    return "\"pipeline\":" + json_string(std::to_string(who.pipeline_id)) +
           ",\"system\":" + json_string(who.system_identifier) +
           ",\"database\":" + json_string(std::to_string(who.database_oid)) +
           ",\"slot\":" + json_string(who.slot);
}

const ColumnSchema* column_of(const TableSchema& table, std::int16_t attnum) {
    for (const ColumnSchema& column : table.columns) {
        if (column.attnum == attnum) return &column;
    }
    return nullptr;
}

// The value of a member of a line that we wrote.
std::string member(const std::string& line, const std::string& name) {
    const std::size_t at = line.find("\"" + name + "\":\"");
    if (at == std::string::npos) return "";
    const std::size_t from = at + name.size() + 4;
    return line.substr(from, line.find('"', from) - from);
}

// How a table stands: what open() tells.
struct Record {
    TableSchemaPtr schema;
    TablePhase phase = TablePhase::ready;
    Lsn position;  // Of one that is not ready.
};

struct Copy {
    std::uint32_t attempt = 0;
    TableSchemaPtr schema;  // As of its newest line.
    bool is_finished = false;
    std::string lines;  // In memory: this is an example.
};

// What a flush comes to; nothing of it is kept unless the whole flush is written.
struct Pending {
    std::string lines;
    std::map<std::uint32_t, Copy> copies;
    std::map<std::uint32_t, Record> records;
};

// Where lines of a table go: into the journal, or, while it is being copied, behind its copied
// rows.
struct Target {
    std::string* lines;
    TableSchemaPtr* schema;
};

class Journal final : public Destination {
 public:
    explicit Journal(std::string folder)
        : folder_(std::move(folder)), path_(folder_ + "/journal.jsonl") {}
    ~Journal() override {
        if (file_ >= 0) ::close(file_);
    }

    std::string_view name() const override { return "journal"; }
    Capabilities capabilities() const override {
        return {.multi_table_atomic = true,
                .exactly_once = true,
                .partial_update = true,
                .keyless = true};
    }
    std::vector<std::string> refusals(const std::vector<TableSchemaPtr>&) const override {
        return {};
    }

    Result<Recovered> open(const PipelineIdentity& who, std::stop_token) override;

    // Rows of a copy wait beside the journal until it is published.
    Status begin_copy(const CopyTargetPtr& copy, std::stop_token) override {
        const std::lock_guard lock(mutex_);
        copies_[copy->schema->id.oid] = Copy{copy->attempt, copy->schema, false, {}};
        return {};
    }
    Status write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) override;
    Status finish_copy(const CopyTargetPtr& copy, std::stop_token) override {
        const std::lock_guard lock(mutex_);
        WALBROOK_TRY(Copy * ours, find_copy(*copy, false));
        ours->is_finished = true;
        return {};
    }
    Status discard_copy(const CopyTargetPtr& copy, std::stop_token) override {
        const std::lock_guard lock(mutex_);
        if (find_copy(*copy, true) || find_copy(*copy, false)) copies_.erase(copy->schema->id.oid);
        return {};
    }

    Result<Ack> apply(Flush& flush, Ack required, std::stop_token stop) override;
    Result<Lsn> read_position(std::stop_token) override { return position_; }
    Status maintain(std::stop_token) override { return {}; }
    Status close() override { return {}; }

 private:
    Status lock_file();
    Status read_journal(const PipelineIdentity& who, off_t& good_bytes);
    Status read_line(const std::string& text, std::map<std::uint32_t, Record>& records);
    Result<Copy*> find_copy(const CopyTarget& copy, bool is_finished);

    static Result<Target> target(const TableSchema& table, const CopyTargetPtr& copy, Pending& out);
    // The same for rows of this version, which must be one that was announced.
    static Result<Target> rows_target(const TableSchemaPtr& table, const CopyTargetPtr& copy,
                                      Pending& out);
    static Status write(const Event& event, Pending& out);
    static Status write_row(std::string_view op, const RowChange& change, const RowView& row,
                            bool key_only, Pending& out);
    static Status write_schema(const SchemaChange& change, Pending& out);
    static Status write_replaced(const Replace& replace, Pending& out);
    static Status write_published(const Publish& publish, Pending& out);
    Status append(const std::string& text);

    const std::string folder_;
    const std::string path_;
    int file_ = -1;
    Lsn position_;
    std::mutex mutex_;  // write_copy comes from several threads.
    std::map<std::uint32_t, Copy> copies_;
    std::map<std::uint32_t, Record> records_;  // Of the tables in the journal.
};

Error mismatch(const TableSchema& table, const std::string& what) {
    return Error(ErrorCode::schema_mismatch,
                 "write " + table.display_name() + " to the journal: " + what)
        .with_table(table.id.oid);
}

Result<Copy*> Journal::find_copy(const CopyTarget& copy, bool is_finished) {
    const auto found = copies_.find(copy.schema->id.oid);
    if (found != copies_.end() && found->second.attempt == copy.attempt &&
        found->second.is_finished == is_finished) {
        return &found->second;
    }
    return Error(ErrorCode::aborted, "write a copy of " + copy.schema->display_name() +
                                         " to the journal: it was given up or is finished");
}

// Held until the process ends, so that no two write.
Status Journal::lock_file() {
    std::filesystem::create_directories(folder_);
    file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file_ < 0) {
        return Error(ErrorCode::permission, "open " + path_ + ": " + std::strerror(errno));
    }
    if (flock(file_, LOCK_EX | LOCK_NB) == 0) return {};
    return Error(ErrorCode::fenced, "open " + path_ + ": another process writes to it");
}

Status Journal::read_line(const std::string& text, std::map<std::uint32_t, Record>& records) {
    const std::string op = member(text, "op");
    if (op == "schema") {
        const std::size_t from = text.find("\"schema\":{") + 9;
        WALBROOK_TRY(TableSchema table,
                     table_schema_from_json(text.substr(from, text.size() - 1 - from)));
        records[table.id.oid].schema = std::make_shared<const TableSchema>(std::move(table));
    } else if (op == "published" || op == "frozen" || op == "gone") {
        const std::string oid = member(text, "oid");
        const auto record = std::find_if(records.begin(), records.end(), [&](const auto& entry) {
            return std::to_string(entry.first) == oid;
        });
        if (record == records.end()) return {};
        if (op == "gone") return records.erase(record), Status();
        record->second.phase = parse_table_phase(member(text, "phase")).value_or(TablePhase::ready);
        record->second.position = parse_lsn(member(text, "lsn")).value_or(Lsn{});
    }
    return {};
}

Status Journal::read_journal(const PipelineIdentity& who, off_t& good_bytes) {
    std::map<std::uint32_t, Record> records;
    std::ifstream in(path_);
    off_t bytes = 0;
    for (std::string text; std::getline(in, text) && !in.eof();) {
        if (bytes == 0) {
            const std::string format = member(text, "format");
            if (format != std::to_string(kFormat)) {
                return Error(ErrorCode::corrupt_state,
                             path_ + " has format " + (format.empty() ? "?" : format) +
                                 ", this program knows " + std::to_string(kFormat) +
                                 "; if a newer one wrote it, use that one");
            }
            if (text.find(lineage_of(who)) == std::string::npos) {
                return Error(ErrorCode::corrupt_state, path_ + " is the journal of another source");
            }
        }
        bytes += static_cast<off_t>(text.size()) + 1;
        WALBROOK_RETURN_IF_ERROR(read_line(text, records));
        if (member(text, "op") == "position") {
            position_ = parse_lsn(member(text, "lsn")).value_or(Lsn{});
            good_bytes = bytes;
            records_ = records;
        }
    }
    return {};
}

Result<Recovered> Journal::open(const PipelineIdentity& who, std::stop_token) {
    WALBROOK_RETURN_IF_ERROR(lock_file());
    off_t good_bytes = 0;
    WALBROOK_RETURN_IF_ERROR(read_journal(who, good_bytes));
    if (ftruncate(file_, good_bytes) != 0) {
        return Error(ErrorCode::unavailable, "cut " + path_ + ": " + std::strerror(errno));
    }
    if (good_bytes == 0) {
        WALBROOK_RETURN_IF_ERROR(append("{\"op\":\"journal\",\"format\":\"" +
                                        std::to_string(kFormat) + "\"," + lineage_of(who) +
                                        "}\n{\"op\":\"position\",\"lsn\":\"0/0\"}\n"));
    }
    Recovered recovered;
    recovered.position = position_;
    for (const auto& [oid, record] : records_) {
        recovered.tables.push_back({{oid}, record.phase, record.position, record.schema});
    }
    return recovered;
}

Status Journal::write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) {
    std::string lines;
    for (;;) {
        if (stop.stop_requested()) return Error(ErrorCode::cancelled, "stopped while copying");
        WALBROOK_TRY(const RowBatch* batch, rows.next());
        if (batch == nullptr) break;
        for (std::size_t i = 0; i < batch->rows(); ++i) {
            WALBROOK_TRY(const std::string row, json_of(RowView(*batch, i), false));
            lines += line("copied", *batch->schema()) + ",\"row\":" + row + "}\n";
        }
    }
    const std::lock_guard lock(mutex_);
    WALBROOK_TRY(Copy * copy, find_copy(*unit.copy, false));
    copy->lines += lines;
    return {};
}

Result<Target> Journal::target(const TableSchema& table, const CopyTargetPtr& copy, Pending& out) {
    const std::uint32_t oid = table.id.oid;
    if (copy) {
        const auto found = out.copies.find(oid);
        if (found != out.copies.end() && found->second.is_finished &&
            found->second.attempt == copy->attempt) {
            return Target{&found->second.lines, &found->second.schema};
        }
        return mismatch(table, "there is no such finished copy");
    }
    const auto record = out.records.find(oid);
    if (record == out.records.end()) return mismatch(table, "it was never published");
    if (record->second.phase == TablePhase::ready) {
        return Target{&out.lines, &record->second.schema};
    }
    return Error(ErrorCode::internal, "write " + table.display_name() + ", which is frozen")
        .with_table(oid);
}

Result<Target> Journal::rows_target(const TableSchemaPtr& table, const CopyTargetPtr& copy,
                                    Pending& out) {
    WALBROOK_TRY(const Target to, target(*table, copy, out));
    if (**to.schema == *table) return to;
    for (const ColumnSchema& column : table->columns) {
        // What rows that exist hold in it nobody told.
        const ColumnSchema* known = column_of(**to.schema, column.attnum);
        if (known == nullptr) return mismatch(*table, "nobody told of the column " + column.name);
        if (known->type != column.type) return mismatch(*table, "the type of a column changed");
    }
    *to.lines += schema_line(*table);
    *to.schema = table;
    return to;
}

Status Journal::write_row(std::string_view op, const RowChange& change, const RowView& row,
                          bool key_only, Pending& out) {
    if (op != "insert" && key_only && change.table->key_columns().empty()) {
        return mismatch(*change.table, "no identity says which row a change is of");
    }
    WALBROOK_TRY(const Target to, rows_target(change.table, change.copy, out));
    WALBROOK_TRY(const std::string json, json_of(row, key_only));
    *to.lines += line(op, *change.table, change.key) + ",\"row\":" + json + "}\n";
    return {};
}

// A line with the new version, and one with what rows that exist hold in its new columns. Values
// stay as they were written, so another type asks for a new copy.
Status Journal::write_schema(const SchemaChange& change, Pending& out) {
    WALBROOK_TRY(const Target to, target(*change.to, change.copy, out));
    const TableSchemaPtr known = *to.schema;
    if (*known == *change.to) return {};
    for (const ColumnSchema& column : change.from->columns) {
        if (column_of(*known, column.attnum) == nullptr) {
            return mismatch(*change.to, "it lacks a column that the change starts from");
        }
    }
    std::string values;
    for (std::size_t i = 0; i < change.to->columns.size(); ++i) {
        const ColumnSchema& column = change.to->columns[i];
        const ColumnSchema* old = column_of(*known, column.attnum);
        if (old != nullptr && old->type == column.type) continue;
        if (old != nullptr) return mismatch(*change.to, "the type of a column changed");
        if (column_of(*change.from, column.attnum) != nullptr) {
            return mismatch(*change.to, "nobody told of the column " + column.name);
        }
        if (change.existing) {
            WALBROOK_TRY(const std::string json, json_of(RowView(*change.existing, 0).cell(i)));
            values += (values.empty() ? "" : ",") + json;
        } else {
            values += (values.empty() ? "" : ",") + json_string(column.name) + ":null";
        }
    }
    *to.lines += schema_line(*change.to);
    if (!values.empty()) *to.lines += line("added", *change.to) + ",\"row\":{" + values + "}}\n";
    *to.schema = change.to;
    return {};
}

// Rows that `walbrook verify --repair` puts right: what is under these keys goes, the rows come.
Status Journal::write_replaced(const Replace& replace, Pending& out) {
    WALBROOK_TRY(const Target to, rows_target(replace.schema, nullptr, out));
    for (std::size_t i = 0; i < replace.keys->rows(); ++i) {
        WALBROOK_TRY(const std::string key, json_of(RowView(*replace.keys, i), true));
        *to.lines += line("clear", *replace.schema) + ",\"row\":" + key + "}\n";
    }
    for (std::size_t i = 0; i < replace.rows->rows(); ++i) {
        WALBROOK_TRY(const std::string row, json_of(RowView(*replace.rows, i), false));
        *to.lines += line("put", *replace.schema) + ",\"row\":" + row + "}\n";
    }
    return {};
}

Status Journal::write_published(const Publish& publish, Pending& out) {
    const TableSchemaPtr& table = publish.copy->schema;
    WALBROOK_TRY(const Target shadow, target(*table, publish.copy, out));
    out.records[table->id.oid] = Record{*shadow.schema, TablePhase::ready, {}};
    out.lines += schema_line(*table) + line("published", *table) + "}\n" + *shadow.lines;
    out.copies.erase(table->id.oid);
    return {};
}

Status Journal::write(const Event& event, Pending& out) {
    if (const auto* insert = std::get_if<InsertEvent>(&event)) {
        return write_row("insert", *insert, insert->row, false, out);
    }
    if (const auto* update = std::get_if<UpdateEvent>(&event)) {
        if (!update->old && update->table->key_columns().empty()) {
            return mismatch(*update->table, "no identity says which row a change is of");
        }
        // Where the key changed, or there is none, it takes the old row to say which.
        if (update->old) {
            WALBROOK_RETURN_IF_ERROR(
                write_row("before", *update, *update->old, !update->old_is_full, out));
        }
        return write_row("update", *update, update->row, false, out);
    }
    if (const auto* gone = std::get_if<DeleteEvent>(&event)) {
        return write_row("delete", *gone, gone->old, !gone->old_is_full, out);
    }
    if (const auto* truncate = std::get_if<TruncateEvent>(&event)) {
        for (const TableSchemaPtr& table : truncate->tables) {
            WALBROOK_TRY(const Target to, target(*table, truncate->copy, out));
            *to.lines += line("truncate", *table, truncate->key) + "}\n";
        }
    }
    if (const auto* change = std::get_if<SchemaChange>(&event)) return write_schema(*change, out);
    if (const auto* publish = std::get_if<Publish>(&event)) return write_published(*publish, out);
    if (const auto* replace = std::get_if<Replace>(&event)) return write_replaced(*replace, out);
    // The table no longer follows the source; what comes next is a copy.
    if (const auto* freeze = std::get_if<Freeze>(&event)) {
        Record& record = out.records[freeze->schema->id.oid];
        if (!record.schema) {
            record.schema = freeze->schema;
            out.lines += schema_line(*freeze->schema);
        }
        record.phase = freeze->phase;
        record.position = freeze->position;
        out.lines += line("frozen", *freeze->schema) +
                     ",\"phase\":" + json_string(name_of(freeze->phase)) +
                     ",\"lsn\":" + json_string(to_string(freeze->position)) + "}\n";
    }
    if (const auto* retire = std::get_if<Retire>(&event)) {
        const std::string oid = std::to_string(retire->table.oid);
        out.lines += "{\"op\":\"gone\",\"oid\":" + json_string(oid) + "}\n";
        out.records.erase(retire->table.oid);
        out.copies.erase(retire->table.oid);
    }
    return {};
}

Result<Ack> Journal::apply(Flush& flush, Ack, std::stop_token stop) {
    const std::lock_guard lock(mutex_);
    Pending pending{{}, copies_, records_};
    FlushEvents events(flush, FlushEvents::kWindowBytes, stop);
    for (;;) {
        if (stop.stop_requested()) return Error(ErrorCode::cancelled, "stopped while writing");
        WALBROOK_TRY(const Event* event, events.next());
        if (event == nullptr) break;
        WALBROOK_RETURN_IF_ERROR(write(*event, pending));
    }
    const Lsn position = std::max(position_, flush.position());
    pending.lines += "{\"op\":\"position\",\"lsn\":" + json_string(to_string(position)) + "}\n";
    WALBROOK_RETURN_IF_ERROR(append(pending.lines));
    copies_ = std::move(pending.copies);
    records_ = std::move(pending.records);
    position_ = position;
    return Ack::durable;
}

// All or nothing: what a failed write left is cut off again.
Status Journal::append(const std::string& text) {
    const off_t before = lseek(file_, 0, SEEK_END);
    std::size_t written = 0;
    while (written < text.size()) {
        const ssize_t n = ::write(file_, text.data() + written, text.size() - written);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        written += static_cast<std::size_t>(n);
    }
    if (written == text.size() && fsync(file_) == 0) return {};
    const std::string why = std::strerror(errno);
    if (ftruncate(file_, before) != 0) {
        return Error(ErrorCode::corrupt_state, "take back a write to " + path_ + ": " + why);
    }
    return Error(ErrorCode::unavailable, "append to " + path_ + ": " + why);
}

}  // namespace

std::unique_ptr<Destination> make_journal_destination(std::string folder) {
    return std::make_unique<Journal>(std::move(folder));
}
