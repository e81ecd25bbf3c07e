#pragma once

#include "decode/properties_testing.h"
#include "fuzz/fuzz.h"
#include "fuzz/samples.h"

// Input of the targets for values: type, format, the value's bytes.
namespace walbrook::fuzz {

inline void run_value(const std::vector<SampledType>& types, std::string_view bytes) {
    Input input(bytes);
    const ColumnSchema& column = types[input.choose(types.size())].column;
    const Format format = input.choose(2) == 0 ? Format::text : Format::binary;
    if (decoder_for(column, format) == nullptr) return;
    expect_exact_or_refused(column, format, input.rest());
}

inline std::vector<std::string> seeds_of_values(const std::vector<SampledType>& types) {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < types.size(); ++i) {
        for (const ValueSample* sample : types[i].samples) {
            out.push_back(choice(i) + choice(0) + std::string(sample->text));
            if (decoder_for(types[i].column, Format::binary) == nullptr) continue;
            out.push_back(choice(i) + choice(1) + hex(sample->binary));
        }
    }
    return out;
}

}  // namespace walbrook::fuzz
