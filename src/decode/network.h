#pragma once

#include <cstddef>
#include <string_view>

// Network addresses as text. The binary form of inet and cidr is that of
// network_send (src/backend/utils/adt/network.c):
//
//     family    2 for IPv4, 3 for IPv6 (PGSQL_AF_INET, PGSQL_AF_INET6)
//     bits      length of the netmask
//     is_cidr   0 or 1
//     nbytes    4 or 16, and as many bytes of address
namespace walbrook::internal {

inline constexpr std::size_t kInetTextMax = 64;
// One past the text, or nullptr if the bytes are no address.
char* print_inet(std::string_view bytes, bool is_cidr, char* out);

// "08:00:2b:01:02:03"; also the eight bytes of macaddr8.
char* print_macaddr(std::string_view bytes, char* out);

}  // namespace walbrook::internal
