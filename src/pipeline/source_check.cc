#include "pipeline/source_check.h"

#include "batch/spill.h"
#include "decode/type_table.h"
#include "decode/value.h"

#include <fmt/format.h>

#include <filesystem>
#include <sys/stat.h>

namespace walbrook {
namespace {

constexpr std::chrono::seconds kDeadline{30};

Result<Connection> connect(const PipelineConfig& config, bool replication) {
    Purpose purpose;
    purpose.application_name = application_name(config.id, "check");
    purpose.replication = replication;
    return Connection::open(config.pg_connection, purpose, within(kDeadline));
}

Status check_server(const ServerState& server) {
    if (server.wal_level != "logical") {
        return Error(ErrorCode::config,
                     fmt::format("the source has wal_level={}; set wal_level=logical and restart "
                                 "Postgres",
                                 server.wal_level));
    }
    if (server.in_recovery) {
        return Error(ErrorCode::config,
                     "the source is a standby; point pg_connection at the primary");
    }
    return {};
}

Status read_tables(Connection& connection, SourceFacts& facts) {
    const Deadline deadline = within(kDeadline);
    WALBROOK_TRY(facts.tables, read_published_tables(connection, deadline, facts.publication));
    std::vector<TableColumns> wanted;
    for (const PublishedTable& table : facts.tables) wanted.push_back({table.id, table.attnums});
    WALBROOK_TRY(auto schemas, read_table_schemas(connection, deadline, wanted));
    facts.all_binary = true;
    for (const PublishedTable& table : facts.tables) {
        const auto found = schemas.find(table.id);
        if (found == schemas.end()) continue;  // Dropped a moment ago.
        for (ColumnSchema& column : found->second.columns) {
            WALBROOK_RETURN_IF_ERROR(resolve_type(column));
            if (decoder_for(column, Format::binary) == nullptr) facts.all_binary = false;
        }
        facts.schemas.push_back(std::make_shared<const TableSchema>(std::move(found->second)));
    }
    return {};
}

}  // namespace

std::string SourceFacts::membership(TableId table) const {
    std::string how;
    for (const PublishedTable& published : tables) {
        if (published.id == table) how = published.membership;
    }
    const auto flag = [](bool is_set, char letter) { return is_set ? letter : '-'; };
    return fmt::format("{} of {}:{} {}{}{}{}", how, publication.oid, publication.xmin,
                       flag(publication.publish_insert, 'i'), flag(publication.publish_update, 'u'),
                       flag(publication.publish_delete, 'd'),
                       flag(publication.publish_truncate, 't'));
}

Result<SourceFacts> check_source(const PipelineConfig& config) {
    SourceFacts facts;
    WALBROOK_TRY(Connection connection, connect(config, false));
    const Deadline deadline = within(kDeadline);
    WALBROOK_TRY(facts.server, read_server_state(connection, deadline));
    WALBROOK_RETURN_IF_ERROR(check_server(facts.server));
    WALBROOK_TRY(Connection walsender, connect(config, true));
    WALBROOK_TRY(facts.system, identify_system(walsender, deadline));
    WALBROOK_TRY(const std::optional<Publication> publication,
                 read_publication(connection, deadline, config.publication_name));
    if (!publication) {
        return Error(ErrorCode::config,
                     fmt::format("pipeline.publication_name: there is no publication {0} in "
                                 "database {1}; create it: create publication {0} for table …",
                                 config.publication_name, facts.system.database));
    }
    facts.publication = *publication;
    WALBROOK_RETURN_IF_ERROR(read_tables(connection, facts));
    if (facts.schemas.empty()) {
        return Error(ErrorCode::config,
                     fmt::format("publication {0} has no tables; add some: alter publication {0} "
                                 "add table …",
                                 config.publication_name));
    }
    return facts;
}

Status prepare_work_dir(const std::string& directory) {
    std::error_code problem;
    std::filesystem::create_directories(directory, problem);
    if (problem || chmod(directory.c_str(), 0700) != 0) {
        return Error(ErrorCode::config,
                     fmt::format("pipeline.work_dir: cannot make {} for this user alone: {}",
                                 directory, problem ? problem.message() : "chmod failed"));
    }
    return sweep_spill_files(directory);
}

Lsn before_page_header(Lsn position) {
    constexpr std::uint64_t kPage = 8192;
    constexpr std::uint64_t kLongHeader = 40;
    const std::uint64_t offset = position.value % kPage;
    return offset <= kLongHeader ? Lsn{position.value - offset} : position;
}

}  // namespace walbrook
