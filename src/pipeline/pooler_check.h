#pragma once

#include "postgres/connection.h"
#include "walbrook/config.h"

namespace walbrook {

// ErrorCode::config when two of our sessions are one at the server: a pooler in transaction mode
// hands its server sessions round. Settings, snapshots and the lease would belong to whoever comes
// next, and values could differ in silence (row_security, DateStyle). `first` must be open.
Status check_no_shared_sessions(const PipelineConfig& config, const Connection& first,
                                const Deadline& deadline);

}  // namespace walbrook
