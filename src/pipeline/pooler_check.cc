#include "pipeline/pooler_check.h"

namespace walbrook {

Status check_no_shared_sessions(const PipelineConfig& config, const Connection& first,
                                const Deadline& deadline) {
    Purpose purpose;
    purpose.application_name = application_name(config.id, "check");
    WALBROOK_TRY(const Connection second,
                 Connection::open(config.pg_connection, purpose, deadline));
    if (second.backend_pid() != first.backend_pid()) return {};
    return Error(ErrorCode::config,
                 "connect to Postgres: two of our sessions were given the same session of the "
                 "server, so there is a connection pooler such as PgBouncer in between that shares "
                 "them (pool_mode transaction or statement); point pg_connection directly at "
                 "Postgres");
}

}  // namespace walbrook
