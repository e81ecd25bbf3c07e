#include "decode/properties_testing.h"
#include "fuzz/fuzz.h"

// numeric of every precision and scale, in text and in binary.
namespace walbrook::fuzz {

constexpr std::size_t kPrecisions = 39;  // 0: a numeric without a size.
constexpr std::size_t kScales = 39;

void run(std::string_view bytes) {
    Input input(bytes);
    const Format format = input.choose(2) == 0 ? Format::text : Format::binary;
    const auto precision = static_cast<int>(input.choose(kPrecisions));
    const auto scale = static_cast<int>(input.choose(kScales));
    const std::int32_t typmod = precision == 0 ? -1 : numeric_typmod(precision, scale);
    expect_exact_or_refused(column_of(1700, typmod), format, input.rest());
}

std::size_t memory_factor() { return kBytesOfAny; }

std::vector<std::string> seeds() {
    const std::string none = choice(0) + choice(0);
    const std::string small = choice(12) + choice(2);
    const std::string large = choice(38) + choice(10);
    std::vector<std::string> out;
    for (const std::string& size : {none, small, large}) {
        for (const char* text :
             {"0", "-1.50", "1234567890.12", "NaN", "Infinity", "0.0000000001"}) {
            out.push_back(choice(0) + size + text);
            out.push_back(choice(1) + size + encode_numeric(text));
        }
    }
    return out;
}

}  // namespace walbrook::fuzz
