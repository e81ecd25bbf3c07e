// walbrook: keeps a live, exact copy of Postgres tables in an analytical store.

#include "cli/commands.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <exception>
#include <signal.h>

using namespace walbrook;

int main(int argc, char** argv) {
    // A reader of our output that goes away is an error of that write, not our end.
    signal(SIGPIPE, SIG_IGN);

    CLI::App app("Keeps a live, exact copy of Postgres tables in a lake.", "walbrook");
    app.require_subcommand(1);
    ExitCode exit = ExitCode::done;

    RunOptions run;
    StatusOptions status;
    std::string show_config = "walbrook.yaml";

    CLI::App* command = app.add_subcommand("run", "Copies the tables, then follows their changes");
    CLI::Option* given = command->add_option("--config", run.config, "The configuration file");
    command->add_flag(
        "--until-caught-up", run.until_caught_up,
        "End once every table is ready and all committed before the start is durable");
    command
        ->add_option("--timeout", run.timeout,
                     "Give up (69) when source or destination is out of reach for so many seconds")
        ->check(CLI::PositiveNumber);
    command->callback([&, given] {
        run.config_given = given->count() > 0;
        exit = run_command(run);
    });

    command = app.add_subcommand("status", "How the running pipeline stands");
    given = command->add_option("--config", status.config, "The configuration file");
    command->add_flag("--json", status.json, "For programs");
    command->callback([&, given] {
        status.config_given = given->count() > 0;
        exit = status_command(status);
    });

    TableOptions tables;
    const auto add_table_command = [&](const char* name, const char* what, bool needs_names) {
        CLI::App* const each = app.add_subcommand(name, what);
        CLI::Option* const at =
            each->add_option("--config", tables.config, "The configuration file");
        each->add_option("tables", tables.tables,
                         "schema.table, or patterns (\"audit.*\"); none: all of them")
            ->required(needs_names);
        each->callback([&, at, name] {
            tables.command = name;
            tables.config_given = at->count() > 0;
            exit = table_command(tables);
        });
    };
    add_table_command("resync", "Copies tables again, behind the readers' backs", true);
    add_table_command("pause", "Lets tables stand still", false);
    add_table_command("resume", "Copies paused or errored tables again, and goes on", false);

    VerifyCommandOptions verify;
    command = app.add_subcommand("verify",
                                 "Compares source and destination, row for row, at one position");
    given = command->add_option("--config", verify.config, "The configuration file");
    command->add_option("tables", verify.tables,
                        "schema.table, or patterns (\"audit.*\"); none: all of them");
    command->add_flag("--json", verify.json, "For programs");
    command
        ->add_option("--max-rows-per-second", verify.max_rows_per_second,
                     "Read no faster than this from the source")
        ->check(CLI::PositiveNumber);
    command->add_option("--max-differences", verify.max_differences,
                        "Name so many rows of each table (100)");
    command->add_flag("--repair", verify.repair,
                      "Put the rows right that differ, and compare them again; tables in which "
                      "too many do, or that have no key, are copied again");
    command->add_flag(
        "--resume", verify.resume,
        "Go on with a comparison that was stopped: tables that it compared within the "
        "last 24 hours are not read again, the one that it was at begins anew");
    command->callback([&, given] {
        verify.config_given = given->count() > 0;
        exit = verify_command(verify);
    });

    InitOptions init;
    command = app.add_subcommand("init", "Lets the source tell of changes of its tables' columns");
    given = command->add_option("--config", init.config, "The configuration file");
    command->add_flag("--print", init.print, "Print the statements instead of running them");
    command->add_flag("--remove", init.remove, "Remove what it made");
    command->callback([&, given] {
        init.config_given = given->count() > 0;
        exit = init_command(init);
    });

    CLI::App* config = app.add_subcommand("config", "The configuration, explained");
    config->require_subcommand(1);
    command = config->add_subcommand("show", "What is in effect, and where it comes from");
    given = command->add_option("--config", show_config, "The configuration file");
    command->callback([&, given] { exit = config_show_command(show_config, given->count() > 0); });
    config->add_subcommand("schema", "A JSON Schema of walbrook.yaml")->callback([&] {
        exit = config_schema_command();
    });
    config->add_subcommand("docs", "The text of docs/configuration.md")->group("")->callback([&] {
        exit = config_docs_command();
    });

    app.add_subcommand("version", "The version and what is built in")->callback([&] {
        exit = version_command();
    });

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::usage);
    } catch (const std::exception& error) {
        // Ours never throw; this is a library's.
        std::fprintf(stderr, "walbrook: internal error: %s\n", error.what());
        return static_cast<int>(ExitCode::internal);
    }
    return static_cast<int>(exit);
}
