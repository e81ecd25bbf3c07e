#pragma once

#include "walbrook/result.h"

namespace walbrook {

// What the pipeline does about an error.
enum class Reaction {
    retry,      // Repeat the call after a pause, for ever.
    redo,       // Begin the unit of work anew: the connection, the copy.
    error_table,  // The table stops, the others go on.
    stop,       // The pipeline ends with the error.
};

// The one place that decides.
Reaction reaction_to(ErrorCode code);

}  // namespace walbrook
