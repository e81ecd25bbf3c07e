#include "postgres/shown_connection.h"

#include "telemetry/log.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <cctype>
#include <memory>
#include <utility>
#include <vector>

namespace walbrook {
namespace {

constexpr std::string_view kHidden = "***";

// Keywords and values, in libpq's order.
using Settings = std::vector<std::pair<std::string, std::string>>;

// `password`, `sslpassword`, `oauth_client_secret`, `scram_client_key` and what may come.
bool is_secret(std::string_view keyword) {
    return keyword.find("password") != std::string_view::npos ||
           keyword.find("secret") != std::string_view::npos || keyword.ends_with("_key");
}

// Empty when libpq cannot read it.
Settings parsed(std::string_view text) {
    Settings settings;
    const std::unique_ptr<PQconninfoOption, void (*)(PQconninfoOption*)> options(
        PQconninfoParse(std::string(text).c_str(), nullptr), PQconninfoFree);
    if (!options) return settings;
    for (const PQconninfoOption* one = options.get(); one->keyword != nullptr; ++one) {
        if (one->val == nullptr) continue;
        settings.emplace_back(one->keyword, is_secret(one->keyword) ? kHidden : one->val);
    }
    return settings;
}

std::string take(Settings& settings, std::string_view keyword) {
    const auto found = std::find_if(settings.begin(), settings.end(),
                                    [&](const auto& one) { return one.first == keyword; });
    if (found == settings.end()) return {};
    std::string value = std::move(found->second);
    settings.erase(found);
    return value;
}

std::string percent_encoded(std::string_view text) {
    if (text == kHidden) return std::string(text);
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (std::isalnum(byte) != 0 || std::string_view("-._~").find(c) != std::string::npos) {
            out += c;
        } else {
            out += fmt::format("%{:02X}", byte);
        }
    }
    return out;
}

// The next of a list with commas; the rest stays.
std::string_view next_of(std::string_view& list) {
    const std::string_view one = list.substr(0, list.find(','));
    list.remove_prefix(std::min(one.size() + 1, list.size()));
    return one;
}

std::string with_ports(std::string_view hosts, std::string_view ports) {
    std::string out;
    while (!hosts.empty() || !ports.empty()) {
        if (!out.empty()) out += ',';
        const std::string_view host = next_of(hosts);
        const std::string_view port = next_of(ports);
        const bool is_ipv6 = host.find(':') != std::string_view::npos;
        out += is_ipv6 ? fmt::format("[{}]", host) : percent_encoded(host);
        if (!port.empty()) out += fmt::format(":{}", port);
    }
    return out;
}

std::string as_url(std::string_view scheme, Settings settings) {
    const std::string user = take(settings, "user");
    const std::string password = take(settings, "password");
    const std::string host = take(settings, "host");
    const std::string port = take(settings, "port");
    const std::string database = take(settings, "dbname");
    std::string out = fmt::format("{}://{}", scheme, percent_encoded(user));
    if (!password.empty()) out += fmt::format(":{}", kHidden);
    if (!user.empty() || !password.empty()) out += '@';
    out += with_ports(host, port);
    if (!database.empty()) out += '/' + percent_encoded(database);
    char before = '?';
    for (const auto& [keyword, value] : settings) {
        out += fmt::format("{}{}={}", before, keyword, percent_encoded(value));
        before = '&';
    }
    return out;
}

std::string as_settings(const Settings& settings) {
    std::string out;
    for (const auto& [keyword, value] : settings) {
        if (!out.empty()) out += ' ';
        out += keyword + '=';
        const bool is_plain =
            !value.empty() && value.find_first_of(" \t\r\n'\\") == std::string::npos;
        if (!is_plain) out += '\'';
        for (const char c : value) {
            if (c == '\'' || c == '\\') out += '\\';
            out += c;
        }
        if (!is_plain) out += '\'';
    }
    return out;
}

// A password with a bare '/' or '@' makes a host, a port or a database of its parts; and so does a
// `&password=…` that no '?' stands before.
bool is_as_meant(const Settings& settings) {
    return std::all_of(settings.begin(), settings.end(), [](const auto& one) {
        const auto& [keyword, value] = one;
        if (keyword == "port") return value.find_first_not_of("0123456789,") == std::string::npos;
        const bool is_part = keyword == "host" || keyword == "dbname" || keyword == "user";
        return !is_part || value.find_first_of("@=&;? \t\r\n") == std::string::npos;
    });
}

// Up to the last '@' it may be the password.
std::string url_by_guess(std::string_view url, std::size_t scheme_end) {
    const std::string_view scheme = url.substr(0, scheme_end);
    const std::size_t host = url.rfind('@');
    if (host == std::string_view::npos || url.find_first_of("?=&;") != std::string_view::npos) {
        return fmt::format("{}://{}", scheme, kHidden);
    }
    const std::size_t colon = url.find(':', scheme_end + 3);
    if (colon > host) return std::string(url);
    return fmt::format("{}:{}{}", url.substr(0, colon), kHidden, url.substr(host));
}

}  // namespace

std::string shown_connection(std::string_view text) {
    constexpr std::string_view kPrefix = "postgres:";
    const bool is_catalog = text.starts_with(kPrefix) && !text.starts_with("postgres://");
    if (is_catalog) return std::string(kPrefix) + shown_connection(text.substr(kPrefix.size()));
    const Settings settings = parsed(text);
    const std::size_t scheme = text.find("://");
    const bool is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if (!settings.empty() && !is_url) return as_settings(settings);
    if (!settings.empty() && is_as_meant(settings)) return as_url(text.substr(0, scheme), settings);
    if (scheme != std::string_view::npos) {
        // Without the password libpq may be able to read it: what is shown is shown the same again.
        std::string guess = without_secrets(url_by_guess(text, scheme));
        return guess == text ? guess : shown_connection(guess);
    }
    const bool is_path = text.starts_with('/');
    if (!is_path && text.find('=') != std::string_view::npos) return std::string(kHidden);
    return without_secrets(text);
}

}  // namespace walbrook
