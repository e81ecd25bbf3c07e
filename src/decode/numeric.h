#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "decode/fit.h"

// The binary form of numeric, all numbers 16 bits in network order
// (numeric_send in src/backend/utils/adt/numeric.c):
//
//     ndigits   how many base-10000 digits follow
//     weight    power of 10000 of the first digit, signed
//     sign      0x0000 +, 0x4000 -, 0xC000 NaN, 0xD000 Infinity, 0xF000 -Infinity
//     dscale    decimal digits to print behind the point, at most 16383
//     digits    each 0 to 9999; the first and the last are not 0
namespace walbrook::internal {

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

// A numeric that passed all checks; views the bytes it was read from.
struct NumericView {
    enum class Special : std::uint8_t { none, nan, infinity, minus_infinity };
    const char* digits = nullptr;
    int digit_count = 0;
    int weight = 0;
    int display_scale = 0;
    bool negative = false;
    Special special = Special::none;

    int digit(int i) const;
};

// False unless the bytes are what Postgres sends: also for digits that the display
// scale hides and for zeros in front or behind, which its own text would not show.
bool read_numeric(std::string_view bytes, NumericView& out);

// The value times 10^scale. Unsupported: NaN, infinities, more digits than fit.
Fit decimal_from_binary(std::string_view bytes, int precision, int scale, int128& out);
Fit decimal_from_text(std::string_view text, int precision, int scale, int128& out);

// numeric_out: every digit, and as many behind the point as the display scale says.
std::size_t numeric_text_size_max(const NumericView& value);
char* print_numeric(const NumericView& value, char* out);

}  // namespace walbrook::internal
