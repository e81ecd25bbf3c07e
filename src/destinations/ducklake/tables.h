#pragma once

#include <optional>
#include <string>

#include "destinations/ducklake/lake.h"
#include "destinations/ducklake/records.h"
#include "walbrook/batch.h"

namespace walbrook::ducklake {

// A shadow table that is complete: held changes may come.
struct Shadow {
    CopyTargetPtr copy;
    TableSchemaPtr schema;  // The version that its columns have now.
};

// Which tables of the lake belong to which oid, and how they change their shape. Within
// a transaction everything happens to a copy of it, which replaces the original when
// the transaction is committed.
struct Tables {
    TableRecords records;
    std::map<std::uint32_t, Shadow> shadows;  // By oid.
};

// Where changes go.
struct Target {
    std::string name;  // lake."schema"."table".
    TableSchemaPtr schema;
};

// The DDL of one transaction.
class TableChanges {
 public:
    TableChanges(duckdb_engine::Connection& session, Tables& tables)
        : session_(session), tables_(tables) {}

    // The visible table, or the shadow if `copy` says so, brought to this version.
    // ErrorCode::schema_mismatch (with the table) if the lake does not have it or
    // cannot follow.
    Result<Target> resolve(const TableSchemaPtr& schema, const CopyTargetPtr& copy);
    Status publish(const Publish& publish);
    Status freeze(const Freeze& freeze);
    Status retire(TableId table);
    // Drops the shadow of a table if it has one.
    Status drop_shadow(TableId table);
    bool has_written() const { return has_written_; }

 private:
    Status run(const std::string& sql);
    Status rename(std::uint32_t oid, TableRecord& record, const std::string& name);
    // Another table of ours that has this name moves aside until its own change comes.
    Status make_way(const std::string& schema, const std::string& name, std::uint32_t for_oid);

    duckdb_engine::Connection& session_;
    Tables& tables_;
    bool has_written_ = false;
};

}  // namespace walbrook::ducklake
