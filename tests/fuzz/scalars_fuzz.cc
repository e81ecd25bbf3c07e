#include "fuzz/values.h"

// One value of each type that is no array, in text and in binary, ranges and composites among them:
// exactly what was sent, or refused.
namespace walbrook::fuzz {

const std::vector<SampledType>& types() {
    static const std::vector<SampledType> types = types_of_samples(false);
    return types;
}

void run(std::string_view bytes) { run_value(types(), bytes); }

std::size_t memory_factor() { return kBytesOfAny; }

std::vector<std::string> seeds() { return seeds_of_values(types()); }

}  // namespace walbrook::fuzz
