#include "pipeline/error_policy.h"

namespace walbrook {

Reaction reaction_to(ErrorCode code) {
    switch (code) {
        case ErrorCode::unavailable:
        case ErrorCode::timed_out:
        case ErrorCode::throttled:
            return Reaction::retry;
        case ErrorCode::aborted:
        case ErrorCode::conflict:
        case ErrorCode::unknown_outcome:
            return Reaction::redo;
        case ErrorCode::malformed:
        case ErrorCode::unsupported_value:
        case ErrorCode::schema_mismatch:
            return Reaction::error_table;
        case ErrorCode::cancelled:
        case ErrorCode::fenced:
        case ErrorCode::permission:
        case ErrorCode::config:
        case ErrorCode::missing_slot:
        case ErrorCode::corrupt_state:
        case ErrorCode::internal:
            return Reaction::stop;
    }
    return Reaction::stop;
}

}  // namespace walbrook
