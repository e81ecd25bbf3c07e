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
