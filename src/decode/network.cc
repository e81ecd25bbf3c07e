#include "decode/network.h"

#include <charconv>

#include "decode/endian.h"

namespace walbrook::internal {
namespace {

constexpr int kWords = 8;  // 16-bit words of an IPv6 address.

char* put_decimal(unsigned value, char* out) { return std::to_chars(out, out + 10, value).ptr; }

char* put_ipv4(const char* address, char* out) {
    for (int i = 0; i < 4; ++i) {
        if (i != 0) *out++ = '.';
        out = put_decimal(static_cast<unsigned char>(address[i]), out);
    }
    return out;
}

struct ZeroRun {
    int base = -1;
    int length = 0;
};

// The longest run of at least two zero words, the first of equals: it becomes "::".
ZeroRun longest_zero_run(const unsigned* words) {
    ZeroRun best;
    ZeroRun current;
    for (int i = 0; i < kWords; ++i) {
        current = words[i] != 0
                      ? ZeroRun{}
                      : ZeroRun{current.length == 0 ? i : current.base, current.length + 1};
        if (current.length > best.length) best = current;
    }
    return best.length >= 2 ? best : ZeroRun{};
}

// inet_net_ntop_ipv6() in src/port/inet_net_ntop.c.
char* put_ipv6(const char* address, char* out) {
    unsigned words[kWords];
    for (int i = 0; i < kWords; ++i) words[i] = load_big_endian<std::uint16_t>(address + 2 * i);
    const ZeroRun run = longest_zero_run(words);
    for (int i = 0; i < kWords; ++i) {
        if (i >= run.base && i < run.base + run.length) {
            if (i == run.base) *out++ = ':';
            continue;
        }
        if (i != 0) *out++ = ':';
        // An IPv4 address inside: ::1.2.3.4 or ::ffff:1.2.3.4.
        if (i == 6 && run.base == 0 &&
            (run.length == 6 || (run.length == 5 && words[5] == 0xFFFF))) {
            return put_ipv4(address + 12, out);
        }
        out = std::to_chars(out, out + 4, words[i], 16).ptr;
    }
    if (run.base != -1 && run.base + run.length == kWords) *out++ = ':';
    return out;
}

}  // namespace

char* print_inet(std::string_view bytes, bool is_cidr, char* out) {
    if (bytes.size() < 4) return nullptr;
    const char family = bytes[0];
    const bool is_ipv6 = family == 3;
    const unsigned bits = static_cast<unsigned char>(bytes[1]);
    const std::size_t width = is_ipv6 ? 16 : 4;
    const unsigned bits_max = is_ipv6 ? 128 : 32;
    if ((family != 2 && family != 3) || bits > bits_max || bytes[2] != (is_cidr ? 1 : 0) ||
        static_cast<unsigned char>(bytes[3]) != width || bytes.size() != 4 + width) {
        return nullptr;
    }
    const char* address = bytes.data() + 4;
    out = is_ipv6 ? put_ipv6(address, out) : put_ipv4(address, out);
    // A cidr always shows its netmask, an inet only when it is not a single host.
    if (!is_cidr && bits == bits_max) return out;
    *out++ = '/';
    return put_decimal(bits, out);
}

char* print_macaddr(std::string_view bytes, char* out) {
    constexpr std::string_view kHex = "0123456789abcdef";
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        if (i != 0) *out++ = ':';
        *out++ = kHex[byte >> 4];
        *out++ = kHex[byte & 15];
    }
    return out;
}

}  // namespace walbrook::internal
