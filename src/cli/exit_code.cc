#include "cli/exit_code.h"

namespace walbrook {

ExitCode exit_code_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::unavailable:
        case ErrorCode::timed_out:
        case ErrorCode::throttled:
            return ExitCode::unreachable;
        case ErrorCode::conflict:
        case ErrorCode::fenced:
            return ExitCode::try_again;
        case ErrorCode::permission:
            return ExitCode::permission;
        case ErrorCode::config:
            return ExitCode::config;
        case ErrorCode::cancelled:
            return ExitCode::done;
        case ErrorCode::aborted:
        case ErrorCode::unknown_outcome:
        case ErrorCode::malformed:
        case ErrorCode::unsupported_value:
        case ErrorCode::schema_mismatch:
        case ErrorCode::missing_slot:
        case ErrorCode::corrupt_state:
        case ErrorCode::internal:
            return ExitCode::internal;
    }
    return ExitCode::internal;
}

}  // namespace walbrook
