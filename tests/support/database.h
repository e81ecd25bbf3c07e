#pragma once

#include "postgres/connection.h"
#include "support/pg_cluster.h"

#include <string>
#include <string_view>
#include <vector>

namespace walbrook::testing {

// Values of rows as COPY's text format writes them: \N for null, backslash, tab and
// newline escaped. So null and the text "null" differ.
using TextRows = std::vector<std::vector<std::string>>;
std::string copy_escaped(std::string_view text);

// A fresh database on a cluster, dropped at the end together with its slots, prepared
// transactions and sessions. What the server refuses is thrown (std::runtime_error).
class Database {
 public:
    explicit Database(PgCluster& cluster);
    ~Database();
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    PgCluster& cluster() const { return *cluster_; }
    const std::string& name() const { return name_; }
    PgConnectionConfig connection() const { return cluster_->connection(name_); }
    std::string url() const { return cluster_->url(name_); }

    // A standby of the cluster has become its successor: all further calls go there.
    void move_to(PgCluster& promoted);

    // One or more statements, on a session of its own with search_path public. Opened
    // anew when the server was restarted.
    void exec(const std::string& sql);
    TextRows query(const std::string& sql);
    // The one value of a one-row query.
    std::string value(const std::string& sql);
    // Of a table, named as SQL names it.
    std::uint32_t oid(const std::string& table);
    // Everything that was committed before this call lies before it.
    Lsn lsn();
    // Another session, with search_path public: for open transactions and locks.
    Connection session();

 private:
    Connection& own_session();
    void drop_leftovers();

    PgCluster* cluster_;
    std::string name_;
    std::optional<Connection> session_;
};

// For sessions of the test itself: throw what the server refuses.
void must_exec(Connection& session, const std::string& sql);
TextRows must_query(Connection& session, const std::string& sql);

// A table's rows, each as one tab-separated line of its columns' ::text in attnum order
// under our pinned settings, sorted by bytes. The oracle of every comparison with a
// destination.
struct TableQuery {
    std::string schema = "public";
    std::string table{};
    std::vector<std::string> columns{};  // Empty: all.
    std::string where{};                 // SQL, without WHERE.
};
std::vector<std::string> table_rows(Connection& session, const TableQuery& query);
std::vector<std::string> table_rows(const Database& database, const TableQuery& query);

// Equal, or a message that names the first rows that only one side has.
std::string difference(const std::vector<std::string>& left, const std::vector<std::string>& right);

}  // namespace walbrook::testing
