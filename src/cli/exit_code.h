#pragma once

#include "walbrook/result.h"

namespace walbrook {

// How the program ends: a contract with supervisors and scripts (sysexits.h, where it
// has a fitting number). A supervisor restarts on 69 and 75, and calls somebody else.
enum class ExitCode : int {
    done = 0,             // Also after SIGTERM with a clean drain.
    finding = 1,          // A difference or a finding (verify, doctor).
    usage = 64,           // The command line is wrong.
    tables_errored = 65,  // run --until-caught-up: some are; verify: some not compared, or none.
    unreachable = 69,     // Source, destination or the running pipeline does not answer.
    internal = 70,        // Stopped by an error that only a person can heal.
    try_again = 75,       // Another process runs this pipeline, or a comparison was stopped.
    permission = 77,
    config = 78,
};

// What an error that ended the work means to whoever started the program.
ExitCode exit_code_of(ErrorCode code);

}  // namespace walbrook
