#pragma once

#include "destinations/ducklake/lake.h"
#include "destinations/ducklake/records.h"
#include "destinations/ducklake/table_ddl.h"
#include "walbrook/batch.h"

#include <cstdint>
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
    // True if that would do something.
    static bool has_names_to_settle(const Tables& tables);
    // Brings the table to the version that the change leads to, whatever version it has.
    Status follow(const SchemaChange& change);
    // The visible table, or the shadow if `copy` says so, brought to this version and
    // ready to be written to.
    // ErrorCode::schema_mismatch (with the table) if the lake does not have it or
    // cannot follow: also if it lacks a column, since only a SchemaChange says what the
    // rows that it has hold there.
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
    // A table's oid; true: its shadow.
    using Key = std::pair<std::uint32_t, bool>;

    Status run(const std::string& sql);
    Result<Target> bring_to(const TableSchemaPtr& schema, const CopyTargetPtr& copy,
                            const SchemaChange* by);
    Status change_columns_of(const Key& key, const LakePlace& place, const TableSchema& from,
                             const TableSchema& to, const SchemaChange* by);
    // What the rows hold in the columns that are added.
    Result<DefaultLiterals> defaults_of(const TableSchema& to, const ColumnChanges& changes,
                                        const SchemaChange* by);
    Status rename(std::uint32_t oid, TableRecord& record, const std::string& name);
    Result<bool> is_there(const TableSchema& schema);
    // Nobody has this name afterwards. Another table of ours that has it moves aside until its
    // own change comes; false if it cannot, in this transaction.
    Result<bool> make_way(const std::string& schema, const std::string& name,
                          const TableSchema& for_table);

    Lake& lake_;
    duckdb_engine::Connection& session_;
    Tables& tables_;
    // What happened in this transaction: whose columns changed, and what was truncated.
    std::set<Key> changed_;
    std::set<Key> emptied_;
    bool has_written_ = false;
};

}  // namespace walbrook::ducklake
