#include "pipeline/stored_commands.h"

#include "pipeline/lease_keeper.h"
#include "pipeline/table_selection.h"

#include <fmt/format.h>

#include <algorithm>

namespace walbrook {
namespace {

constexpr std::chrono::seconds kDeadline{30};

}  // namespace

Result<std::vector<TableState>> named_tables(const std::vector<TableState>& all,
                                             const std::vector<std::string>& names) {
    for (const std::string& pattern : names) {
        const bool is_known = std::any_of(all.begin(), all.end(), [&](const TableState& table) {
            return is_named({pattern}, table.schema, table.name);
        });
        if (is_known) continue;
        return Error(ErrorCode::config,
                     fmt::format("no table of the pipeline is called {}; `walbrook status` shows "
                                 "their names (schema.table)",
                                 pattern));
    }
    std::vector<TableState> meant;
    for (const TableState& table : all) {
        if (names.empty() || is_named(names, table.schema, table.name)) meant.push_back(table);
    }
    return meant;
}

// A start copies what is queued, beside the visible table where there is one, and lets what is
// paused stand still.
TableState after_command(TableState table, TableCommand what) {
    const auto copy_again = [&](const char* why) {
        table.phase = TablePhase::queued;
        table.reason = why;
        table.remedy.clear();
        table.retries = 0;
        table.next_retry_unix_ms = 0;
    };
    switch (what) {
        case TableCommand::resync:
            copy_again("a new copy was asked for");
            break;
        case TableCommand::pause:
            if (table.paused) break;
            table.paused = true;
            table.reason = "paused by the operator";
            break;
        case TableCommand::resume:
            if (table.paused) table.reason.clear();
            table.paused = false;
            if (table.phase == TablePhase::errored) copy_again("resumed by the operator");
            break;
    }
    return table;
}

Result<std::vector<std::string>> command_stored(const PipelineConfig& config, Store& store,
                                                std::string_view destination, TableCommand what,
                                                const std::vector<std::string>& tables) {
    const Logger silent;
    LeaseKeeper lease(config, silent, [](const Error&) {});
    if (Status taken = lease.take(within(kDeadline)); !taken) {
        if (taken.error().code() != ErrorCode::fenced) return std::move(taken).error();
        return Error(ErrorCode::fenced,
                     fmt::format("pipeline {} runs, but not in this work_dir ({}); give the "
                                 "command where it runs, or stop it first",
                                 config.id, taken.error().message()));
    }
    WALBROOK_RETURN_IF_ERROR(store.open({config.id, std::string(destination)}));
    WALBROOK_TRY(const std::vector<TableState> all, store.load_tables());
    if (all.empty()) {
        return Error(
            ErrorCode::config,
            fmt::format("the store knows no table of pipeline {}: it has not run yet", config.id));
    }
    WALBROOK_TRY(std::vector<TableState> meant, named_tables(all, tables));
    std::vector<std::string> names;
    for (TableState& table : meant) {
        table = after_command(std::move(table), what);
        names.push_back(table.schema + "." + table.name);
    }
    WALBROOK_RETURN_IF_ERROR(store.save_tables(meant));
    return names;
}

}  // namespace walbrook
