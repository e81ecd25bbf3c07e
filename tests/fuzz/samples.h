#pragma once

#include "decode/decode_testing.h"
#include "decode/value_samples.h"
#include "walbrook/schema.h"

#include <string>
#include <vector>

namespace walbrook::fuzz {

struct SampledType {
    ColumnSchema column;
    std::vector<const ValueSample*> samples;
};

// The types of the samples, each once; fewer than 256, so that a byte chooses one.
inline std::vector<SampledType> types_of_samples(bool lists) {
    std::vector<SampledType> types;
    std::string last;
    for (const ValueSample& sample : kValueSamples) {
        const ColumnSchema column = column_for(sample);
        if (column.type.is_list != lists) continue;
        if (types.empty() || last != sample.type_name) types.push_back({column, {}});
        last = sample.type_name;
        types.back().samples.push_back(&sample);
    }
    EXPECT_LT(types.size(), 256U);
    return types;
}

}  // namespace walbrook::fuzz
