#include "file_store.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/file.h>
#include <unistd.h>

namespace {

using namespace walbrook;
using Json = nlohmann::json;

constexpr int kFormat = 1;

Lsn lsn_of(const Json& json, const char* name) {
    return parse_lsn(json.value(name, "0/0")).value_or(Lsn{});
}

Json json_of(const TableState& table) {
    return {{"oid", table.table.oid},
            {"schema", table.schema},
            {"name", table.name},
            {"phase", name_of(table.phase)},
            {"paused", table.paused},
            {"attempt", table.attempt},
            {"position", to_string(table.position)},
            {"reason", table.reason},
            {"remedy", table.remedy},
            {"retries", table.retries},
            {"next_retry_unix_ms", table.next_retry_unix_ms},
            {"membership", table.membership},
            {"content", table.content}};
}

TableState table_of(const Json& json) {
    TableState table;
    table.table = {json.at("oid").get<std::uint32_t>()};
    table.schema = json.at("schema");
    table.name = json.at("name");
    table.phase =
        parse_table_phase(json.at("phase").get<std::string>()).value_or(TablePhase::queued);
    table.paused = json.at("paused");
    table.attempt = json.at("attempt");
    table.position = parse_lsn(json.at("position").get<std::string>()).value_or(Lsn{});
    table.reason = json.at("reason");
    table.remedy = json.at("remedy");
    table.retries = json.at("retries");
    table.next_retry_unix_ms = json.at("next_retry_unix_ms");
    table.membership = json.at("membership");
    table.content = json.at("content");
    return table;
}

// Held while it lives: other pipelines may have their records in the same file.
class FileLock {
 public:
    explicit FileLock(const std::string& path)
        : file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
        is_held_ = file_ >= 0 && flock(file_, LOCK_EX) == 0;
    }
    ~FileLock() {
        if (file_ >= 0) ::close(file_);
    }
    FileLock(const FileLock&) = delete;
    FileLock& operator=(const FileLock&) = delete;
    bool is_held() const { return is_held_; }

 private:
    const int file_;
    bool is_held_ = false;
};

class FileStore final : public Store {
 public:
    explicit FileStore(std::string path) : path_(std::move(path)) {}

    Status open(const StoreScope& scope) override;

    Result<std::optional<Lineage>> load_lineage() override {
        const Json& json = mine()["lineage"];
        if (json.is_null()) return std::optional<Lineage>();
        return std::optional(Lineage{json.at("system_identifier"), json.at("timeline"),
                                     json.at("database_oid"), json.at("slot"),
                                     lsn_of(json, "timeline_begin")});
    }
    Status save_lineage(const Lineage& lineage, Lsn shared_until) override {
        return change([&](Json& scope) {
            scope["lineage"] = {{"system_identifier", lineage.system_identifier},
                                {"timeline", lineage.timeline},
                                {"database_oid", lineage.database_oid},
                                {"slot", lineage.slot},
                                {"timeline_begin", to_string(lineage.timeline_begin)}};
            const StoredPositions stored = positions_of(scope);
            scope["durable"] = to_string(std::min(stored.durable, shared_until));
            scope["confirm_bound"] = to_string(std::min(stored.confirm_bound, shared_until));
        });
    }

    Result<std::vector<TableState>> load_tables() override {
        std::vector<TableState> tables;
        for (const auto& [oid, json] : mine()["tables"].items()) tables.push_back(table_of(json));
        // Keys are sorted as text.
        std::sort(tables.begin(), tables.end(), [](const TableState& a, const TableState& b) {
            return a.table.oid < b.table.oid;
        });
        return tables;
    }
    Status save_tables(std::span<const TableState> tables) override {
        return change([&](Json& scope) {
            for (const TableState& table : tables) {
                scope["tables"][std::to_string(table.table.oid)] = json_of(table);
            }
        });
    }
    Status remove_table(TableId table) override {
        return change([&](Json& scope) {
            scope["tables"].erase(std::to_string(table.oid));
            scope["schemas"].erase(std::to_string(table.oid));
        });
    }

    Result<StoredPositions> load_positions() override { return positions_of(mine()); }
    Result<StoredPositions> advance(const StoredPositions& to) override {
        StoredPositions stored;
        WALBROOK_RETURN_IF_ERROR(change([&](Json& scope) {
            stored = positions_of(scope);
            stored.durable = std::max(stored.durable, to.durable);
            stored.confirm_bound = std::max(stored.confirm_bound, to.confirm_bound);
            scope["durable"] = to_string(stored.durable);
            scope["confirm_bound"] = to_string(stored.confirm_bound);
        }));
        return stored;
    }

    Status put_schema(const TableSchema& schema, Lsn from) override {
        return change([&](Json& scope) {
            scope["schemas"][std::to_string(schema.id.oid)][key_of(from)] = to_json(schema);
        });
    }
    Result<TableSchemaPtr> get_schema(TableId table, Lsn at) override;
    Status prune_schemas(TableId table, Lsn keep_from) override;
    Status clear() override {
        return change([](Json& scope) { scope = nullptr; });
    }

 private:
    // Keys of an object are sorted as text, so positions are written with all digits.
    static std::string key_of(Lsn lsn) {
        char text[17];
        std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(lsn.value));
        return text;
    }
    static StoredPositions positions_of(const Json& json) {
        return {lsn_of(json, "durable"), lsn_of(json, "confirm_bound")};
    }
    // What is stored of this pipeline and destination; empty in the beginning.
    Json& scope_of(Json& all) const {
        Json& scope = all[scope_];
        if (scope.is_null()) {
            scope = {{"tables", Json::object()}, {"schemas", Json::object()}};
        }
        return scope;
    }
    Json& mine() { return scope_of(all_); }
    // All or none: memory changes only when the file did.
    template <class Change>
    Status change(Change&& what) {
        const FileLock lock(path_ + ".lock");
        if (!lock.is_held()) return failed("lock");
        WALBROOK_TRY(Json next, read());
        what(scope_of(next));
        WALBROOK_RETURN_IF_ERROR(write(next));
        all_ = std::move(next);
        return {};
    }
    Result<Json> read() const;
    Status write(const Json& all) const;
    Error failed(const char* what) const {
        return {ErrorCode::unavailable,
                std::string(what) + " " + path_ + ": " + std::strerror(errno)};
    }

    const std::string path_;
    std::string scope_;
    Json all_;
};

Status FileStore::open(const StoreScope& scope) {
    scope_ = std::to_string(scope.pipeline_id) + " " + scope.destination;
    WALBROOK_TRY(all_, read());
    return {};
}

Result<Json> FileStore::read() const {
    std::ifstream in(path_);
    if (!in) return Json::object({{"format", kFormat}});
    Json all = Json::parse(in, nullptr, false);
    const int format = all.is_object() ? all.value("format", 0) : 0;
    if (format == kFormat) return all;
    if (format > kFormat) {
        return Error(ErrorCode::corrupt_state,
                     path_ + " has format " + std::to_string(format) + ", this program knows " +
                         std::to_string(kFormat) + "; a newer one wrote it: use that one");
    }
    return Error(ErrorCode::corrupt_state, path_ + " is damaged, or no file of this store");
}

Result<TableSchemaPtr> FileStore::get_schema(TableId table, Lsn at) {
    const Json& versions = mine()["schemas"][std::to_string(table.oid)];
    TableSchemaPtr found;
    for (const auto& [from, text] : versions.items()) {
        if (from > key_of(at)) break;
        WALBROOK_TRY(TableSchema schema, table_schema_from_json(text.get<std::string>()));
        found = std::make_shared<const TableSchema>(std::move(schema));
    }
    return found;
}

Status FileStore::prune_schemas(TableId table, Lsn keep_from) {
    return change([&](Json& scope) {
        Json& versions = scope["schemas"][std::to_string(table.oid)];
        if (versions.is_null()) return;
        // The newest one at or before keep_from is still asked for.
        std::string newest;
        for (const auto& [from, text] : versions.items()) {
            if (from <= key_of(keep_from)) newest = from;
        }
        for (auto it = versions.begin(); it != versions.end();) {
            it = it.key() < newest ? versions.erase(it) : std::next(it);
        }
    });
}

Status FileStore::write(const Json& all) const {
    const std::string text = all.dump(1, ' ', false, Json::error_handler_t::replace);
    const std::string fresh = path_ + ".new";
    const int file = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool good = file >= 0;
    good = good && ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    good = good && fsync(file) == 0;
    if (file >= 0) ::close(file);
    if (!good || std::rename(fresh.c_str(), path_.c_str()) != 0) return failed("write");
    // The new name is durable only with its folder.
    const std::string folder = std::filesystem::absolute(path_).parent_path().string();
    const int parent = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    good = parent >= 0 && fsync(parent) == 0;
    if (parent >= 0) ::close(parent);
    return good ? Status() : failed("make durable");
}

}  // namespace

std::unique_ptr<Store> make_file_store(std::string path) {
    return std::make_unique<FileStore>(std::move(path));
}
