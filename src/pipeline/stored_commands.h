#pragma once

#include "walbrook/pipeline.h"

#include <string>
#include <string_view>
#include <vector>

namespace walbrook {

// Pipeline::command() for a pipeline that no process runs: takes its lease, and writes into its
// store what the next start is to do. ErrorCode::fenced when a process runs it elsewhere,
// ErrorCode::config when it never ran, or when one of the names or patterns has no table.
Result<std::vector<std::string>> command_stored(const PipelineConfig& config, Store& store,
                                                std::string_view destination, TableCommand what,
                                                const std::vector<std::string>& tables);

// The tables that are meant; ErrorCode::config when a name or pattern has none.
Result<std::vector<TableState>> named_tables(const std::vector<TableState>& all,
                                             const std::vector<std::string>& names);

// What the start finds of a table after the command.
TableState after_command(TableState table, TableCommand what);

}  // namespace walbrook
