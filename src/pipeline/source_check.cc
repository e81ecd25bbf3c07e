#include "pipeline/source_check.h"

#include "base/network_file_system.h"
#include "base/private_files.h"
#include "batch/spill.h"
#include "decode/value.h"
#include "pipeline/pooler_check.h"

#include <fmt/format.h>

namespace walbrook {
namespace {

constexpr std::chrono::seconds kCheckDeadline{30};

Result<Connection> connect(const PipelineConfig& config, bool replication) {
    Purpose purpose;
    purpose.application_name = application_name(config.id, "check");
    purpose.replication = replication;
    return Connection::open(config.pg_connection, purpose, within(kCheckDeadline));
}

// Slots are to be had there from 16 on.
Status check_standby(const PipelineConfig& config, const ServerState& server) {
    if (server.version < 160'000) {
        return Error(ErrorCode::config,
                     fmt::format("the source is a standby of Postgres {}, and logical decoding at "
                                 "a standby begins with 16; point pg_connection at the primary",
                                 server.version / 10'000));
    }
    if (!server.hot_standby_feedback) {
        return Error(ErrorCode::config,
                     "the source is a standby with hot_standby_feedback=off: vacuum on the primary "
                     "would end its slot; set hot_standby_feedback=on there and reload");
    }
    if (config.heartbeat_interval_ms != 0) {
        return Error(ErrorCode::config,
                     "pipeline.heartbeat_interval_ms: the source is a standby, where nothing can "
                     "be written; leave it out");
    }
    return {};
}

Status check_server(const PipelineConfig& config, const ServerState& server) {
    if (server.wal_level != "logical") {
        return Error(ErrorCode::config,
                     fmt::format("the source has wal_level={}; set wal_level=logical and restart "
                                 "Postgres",
                                 server.wal_level));
    }
    return server.in_recovery ? check_standby(config, server) : Status();
}

Status read_tables(Connection& connection, const std::string& publication, SourceFacts& facts) {
    WALBROOK_TRY(facts.look, look_at_catalog(connection, within(kCheckDeadline), publication,
                                             [](const auto&) { return true; }));
    facts.all_binary = true;
    for (const auto& [id, table] : facts.look.tables) {
        if (!table.source.schema) continue;
        for (const ColumnSchema& column : table.source.schema->columns) {
            if (decoder_for(column, Format::binary) == nullptr) facts.all_binary = false;
        }
    }
    return {};
}

}  // namespace

Result<SourceFacts> check_source(const PipelineConfig& config) {
    SourceFacts facts;
    WALBROOK_TRY(Connection connection, connect(config, false));
    const Deadline deadline = within(kCheckDeadline);
    WALBROOK_RETURN_IF_ERROR(check_no_shared_sessions(config, connection, deadline));
    WALBROOK_TRY(facts.server, read_server_state(connection, deadline));
    WALBROOK_RETURN_IF_ERROR(check_server(config, facts.server));
    WALBROOK_TRY(Connection walsender, connect(config, true));
    WALBROOK_TRY(facts.system, identify_system(walsender, deadline));
    facts.timeline.number = facts.system.timeline;
    WALBROOK_TRY(facts.timeline.begin,
                 read_timeline_begin(walsender, deadline, facts.system.timeline));
    WALBROOK_RETURN_IF_ERROR(read_tables(connection, config.publication_name, facts));
    if (!facts.look.publication) {
        return Error(ErrorCode::config,
                     fmt::format("pipeline.publication_name: there is no publication {0} in "
                                 "database {1}; create it: create publication {0} for table …",
                                 config.publication_name, facts.system.database));
    }
    return facts;
}

Status make_work_dir(const std::string& directory) {
    if (Status made = make_private_folder(directory); !made) {
        return std::move(made).error().with_context("pipeline.work_dir");
    }
    // The lease in the source tells two machines apart.
    return refuse_network_file_system("pipeline.work_dir", directory);
}

Status prepare_work_dir(const std::string& directory) {
    WALBROOK_RETURN_IF_ERROR(make_work_dir(directory));
    return sweep_spill_files(directory);
}

}  // namespace walbrook
