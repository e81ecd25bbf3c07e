#include "decode/numeric.h"

#include "decode/endian.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace walbrook::internal {
namespace {

constexpr int kDigitsPerGroup = 4;  // DEC_DIGITS
constexpr int kDisplayScaleMax = 0x3FFF;
constexpr int kDecimalDigitsMax = 38;

constexpr auto kPowersOfTen = [] {
    std::array<uint128, kDecimalDigitsMax + 1> powers{};
    powers[0] = 1;
    for (std::size_t i = 1; i < powers.size(); ++i) powers[i] = powers[i - 1] * 10;
    return powers;
}();

uint128 power_of_ten(int exponent) { return kPowersOfTen[static_cast<std::size_t>(exponent)]; }

// How many decimal digits a group has without leading zeros.
int leading_digits(int group) { return group >= 1000 ? 4 : group >= 100 ? 3 : group >= 10 ? 2 : 1; }

int trailing_zeros(int group) {
    return group % 10 != 0 ? 0 : group % 100 != 0 ? 1 : group % 1000 != 0 ? 2 : 3;
}

// The header of a special value is its sign alone, which the server then reads as a
// short header: the bits that make an infinity are the display scale 32.
bool read_special(unsigned sign, NumericView& out) {
    constexpr unsigned kShortScaleMask = 0x1F80;  // NUMERIC_SHORT_DSCALE_MASK
    constexpr unsigned kShortScaleShift = 7;
    switch (sign) {
        case 0xC000:
            out.special = NumericView::Special::nan;
            break;
        case 0xD000:
            out.special = NumericView::Special::infinity;
            break;
        case 0xF000:
            out.special = NumericView::Special::minus_infinity;
            break;
        default:
            return false;
    }
    const auto scale = static_cast<int>((sign & kShortScaleMask) >> kShortScaleShift);
    return out.digit_count == 0 && out.weight == 0 && out.display_scale == scale;
}

void store(uint128 magnitude, bool negative, int128& out) {
    out = negative ? -static_cast<int128>(magnitude) : static_cast<int128>(magnitude);
}

}  // namespace

int NumericView::digit(int i) const {
    const auto offset = static_cast<std::size_t>(i) * sizeof(std::uint16_t);
    return load_big_endian<std::uint16_t>(digits + offset);
}

bool read_numeric(std::string_view bytes, NumericView& out) {
    if (bytes.size() < 8) return false;
    out.digit_count = load_big_endian<std::uint16_t>(bytes.data());
    out.weight = load_big_endian<std::int16_t>(bytes.data() + 2);
    const unsigned sign = load_big_endian<std::uint16_t>(bytes.data() + 4);
    out.display_scale = load_big_endian<std::uint16_t>(bytes.data() + 6);
    out.digits = bytes.data() + 8;
    if (bytes.size() != 8 + 2 * static_cast<std::size_t>(out.digit_count)) return false;
    if (sign != 0 && sign != 0x4000) return read_special(sign, out);
    if (out.display_scale > kDisplayScaleMax) return false;
    out.negative = sign != 0;
    // make_result() gives zero one form.
    if (out.digit_count == 0) return !out.negative && out.weight == 0;
    for (int i = 0; i < out.digit_count; ++i) {
        if (out.digit(i) > 9999) return false;
    }
    const int last = out.digit(out.digit_count - 1);
    if (out.digit(0) == 0 || last == 0) return false;
    const int behind_point =
        kDigitsPerGroup * (out.digit_count - 1 - out.weight) - trailing_zeros(last);
    return behind_point <= out.display_scale;
}

Fit decimal_from_binary(std::string_view bytes, int precision, int scale, int128& out) {
    NumericView value;
    if (!read_numeric(bytes, value)) return Fit::malformed;
    if (value.special != NumericView::Special::none) return Fit::unsupported;
    const int n = value.digit_count;
    if (n == 0) {
        out = 0;
        return Fit::ok;
    }
    // The last group stands for 10^exponent units of the column.
    const int exponent = kDigitsPerGroup * (value.weight - n + 1) + scale;
    const int last = value.digit(n - 1);
    if (-exponent > trailing_zeros(last)) return Fit::unsupported;
    const int digits = leading_digits(value.digit(0)) + kDigitsPerGroup * (n - 1) + exponent;
    if (digits > precision) return Fit::unsupported;
    // At most 38 digits are left, so nothing below overflows.
    uint128 sum = 0;
    if (n <= 5) {
        std::uint64_t small = 0;
        for (int i = 0; i < n - 1; ++i)
            small = small * 10000 + static_cast<unsigned>(value.digit(i));
        sum = small;
    } else {
        for (int i = 0; i < n - 1; ++i) sum = sum * 10000 + static_cast<unsigned>(value.digit(i));
    }
    if (exponent >= 0) {
        sum = sum * 10000 + static_cast<unsigned>(last);
        if (exponent > 0) sum *= power_of_ten(exponent);
    } else {
        const auto cut = static_cast<unsigned>(power_of_ten(-exponent));
        sum = sum * power_of_ten(kDigitsPerGroup + exponent) + static_cast<unsigned>(last) / cut;
    }
    store(sum, value.negative, out);
    return Fit::ok;
}

Fit decimal_from_text(std::string_view text, int precision, int scale, int128& out) {
    if (text == "NaN" || text == "Infinity" || text == "-Infinity") return Fit::unsupported;
    const bool negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    const std::size_t point = text.find('.');
    const std::string_view whole = text.substr(0, point);
    const std::string_view fraction =
        point == std::string_view::npos ? std::string_view() : text.substr(point + 1);
    if (whole.empty() || (point != std::string_view::npos && fraction.empty())) {
        return Fit::malformed;
    }
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (whole.size() > 1 && whole[0] == '0') return Fit::malformed;
    if (!std::all_of(whole.begin(), whole.end(), is_digit) ||
        !std::all_of(fraction.begin(), fraction.end(), is_digit)) {
        return Fit::malformed;
    }
    uint128 sum = 0;
    int digits = 0;
    // False when a digit is one too many.
    const auto add = [&](char c) {
        if (digits != 0 || c != '0') ++digits;
        if (digits > precision) return false;
        sum = sum * 10 + static_cast<unsigned>(c - '0');
        return true;
    };
    for (const char c : whole) {
        if (!add(c)) return Fit::unsupported;
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(scale); ++i) {
        if (!add(i < fraction.size() ? fraction[i] : '0')) return Fit::unsupported;
    }
    for (std::size_t i = static_cast<std::size_t>(scale); i < fraction.size(); ++i) {
        if (fraction[i] != '0') return Fit::unsupported;
    }
    if (negative && sum == 0) return Fit::malformed;
    store(sum, negative, out);
    return Fit::ok;
}

std::size_t numeric_text_size_max(const NumericView& value) {
    if (value.special != NumericView::Special::none) return 9;
    const int whole = std::max(value.weight + 1, 1) * kDigitsPerGroup;
    // Sign, point, and a last group that is written whole and then cut.
    return static_cast<std::size_t>(whole + value.display_scale + 2 + kDigitsPerGroup);
}

char* print_numeric(const NumericView& value, char* out) {
    constexpr std::string_view kSpecial[] = {"", "NaN", "Infinity", "-Infinity"};
    if (value.special != NumericView::Special::none) {
        const std::string_view name = kSpecial[static_cast<std::size_t>(value.special)];
        std::memcpy(out, name.data(), name.size());
        return out + name.size();
    }
    const auto group_at = [&](int i) {
        return i >= 0 && i < value.digit_count ? value.digit(i) : 0;
    };
    const auto put_group = [&](int group) {
        for (const int unit : {1000, 100, 10, 1}) {
            *out++ = static_cast<char>('0' + group / unit % 10);
        }
    };
    if (value.negative) *out++ = '-';
    if (value.weight < 0) {
        *out++ = '0';
    } else {
        char* const start = out;
        put_group(group_at(0));
        const int zeros = kDigitsPerGroup - leading_digits(group_at(0));
        std::memmove(start, start + zeros, static_cast<std::size_t>(kDigitsPerGroup - zeros));
        out -= zeros;
        for (int i = 1; i <= value.weight; ++i) put_group(group_at(i));
    }
    if (value.display_scale == 0) return out;
    *out++ = '.';
    char* const end = out + value.display_scale;
    int i = value.weight + 1;
    while (out < end) put_group(group_at(i++));
    return end;
}

}  // namespace walbrook::internal
