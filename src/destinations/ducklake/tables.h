#pragma once

#include "destinations/ducklake/lake.h"
#include "destinations/ducklake/records.h"
#include "walbrook/batch.h"

#include <map>
#include <set>
#include <string>
#include <utility>

namespace walbrook::ducklake {

// A shadow table that is complete: held changes may come.
struct Shadow {
    CopyTargetPtr copy;
    TableSchemaPtr schema;  // The version that its columns have now.
    std::string folder;     // Absolute, of its files.
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
    std::string folder;
    std::string lake_schema;
    std::string lake_table;
};

// The DDL of one transaction.
//
// One order of statements must never happen, because it leaves a catalog that nobody can
// read (DuckLake 1.5.5: "Column with name a already exists"): columns or comments of a
// committed table change, and later in the same transaction the table is renamed. The
// other way round is right. So a table is renamed first; and where its columns changed
// already, the name waits for the next transaction.
class TableChanges {
 public:
    TableChanges(Lake& lake, Tables& tables)
        : lake_(lake), session_(lake.session()), tables_(tables) {}

    // Comes first: gives tables the names that had to wait.
    Status settle_names();
    // The visible table, or the shadow if `copy` says so, brought to this version and
    // ready to be written to.
    // ErrorCode::schema_mismatch (with the table) if the lake does not have it or
    // cannot follow.
    Result<Target> resolve(const TableSchemaPtr& schema, const CopyTargetPtr& copy);
    // Empties it, in a time that does not depend on its size.
    Status truncate(const TableSchemaPtr& schema, const CopyTargetPtr& copy);
    Status publish(const Publish& publish);
    Status freeze(const Freeze& freeze);
    Status retire(TableId table);
    // Drops the shadow of a table if it has one.
    Status drop_shadow(TableId table);
    bool has_written() const { return has_written_; }

 private:
    Status run(const std::string& sql);
    Status change(std::uint32_t oid, const std::string& name, const TableSchema& from,
                  const TableSchema& to);
    Status rename(std::uint32_t oid, TableRecord& record, const std::string& name);
    // Another table of ours that has this name moves aside until its own change comes.
    Status make_way(const std::string& schema, const std::string& name, std::uint32_t for_oid);

    Lake& lake_;
    duckdb_engine::Connection& session_;
    Tables& tables_;
    // Oids of tables, and of shadows, whose columns changed in this transaction.
    std::set<std::uint32_t> changed_;
    // Tables, or their shadows (true), that were truncated in this transaction.
    std::set<std::pair<std::uint32_t, bool>> emptied_;
    bool has_written_ = false;
};

}  // namespace walbrook::ducklake
