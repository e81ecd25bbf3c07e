#pragma once

#include "cli/exit_code.h"
#include "walbrook/pipeline.h"

#include <optional>
#include <string>
#include <vector>

namespace walbrook {

// Each command of the program, from its options to its exit code. They write answers
// to stdout, and everything else to stderr.

struct RunOptions {
    std::string config = "walbrook.yaml";
    bool config_given = false;
    bool until_caught_up = false;
    // Seconds for which source or destination may be out of reach; none: for ever.
    std::optional<double> timeout;
};
ExitCode run_command(const RunOptions& options);

struct StatusOptions {
    std::string config = "walbrook.yaml";
    bool config_given = false;
    bool json = false;
};
ExitCode status_command(const StatusOptions& options);

struct TableOptions {
    std::string config = "walbrook.yaml";
    bool config_given = false;
    std::string command;              // resync, pause, resume
    std::vector<std::string> tables;  // Names or patterns; none: all.
};
ExitCode table_command(const TableOptions& options);

struct VerifyCommandOptions {
    std::string config = "walbrook.yaml";
    bool config_given = false;
    std::vector<std::string> tables;        // Names or patterns; none: all.
    std::uint64_t max_rows_per_second = 0;  // 0: as many as the source gives.
    std::size_t max_differences = 100;      // Named of each table.
    bool json = false;
    bool repair = false;
    bool resume = false;  // Goes on with a comparison that was stopped.
};
ExitCode verify_command(const VerifyCommandOptions& options);

struct InitOptions {
    std::string config = "walbrook.yaml";
    bool config_given = false;
    bool print = false;
    bool remove = false;
};
ExitCode init_command(const InitOptions& options);

ExitCode config_show_command(const std::string& config, bool config_given);
ExitCode config_schema_command();
ExitCode config_docs_command();
ExitCode version_command();

// "0.1.0"
std::string_view program_version();

}  // namespace walbrook
