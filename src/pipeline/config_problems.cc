#include "postgres/connect_options.h"
#include "walbrook/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string_view>

namespace walbrook {
namespace {

constexpr std::array kTlsModes = {"disable", "allow",     "prefer",
                                  "require", "verify-ca", "verify-full"};

// Gathers; every line begins with the key, so that a program can say where it stands.
class Problems {
 public:
    void add(std::string_view key, std::string_view text) {
        all_.push_back(fmt::format("pipeline.{}: {}", key, text));
    }
    template <class T>
    void range(std::string_view key, T value, std::uint64_t min, std::uint64_t max) {
        if (value < min) {
            add(key, fmt::format("must be at least {}, not {}", min, value));
        } else if (value > max) {
            add(key, fmt::format("must be at most {}, not {}", max, value));
        }
    }
    void ratio(std::string_view key, double value) {
        // Written so that NaN fails.
        if (!(value > 0 && value <= 1)) {
            add(key, fmt::format("must be above 0 and at most 1, not {}", value));
        }
    }
    // Where 0 switches off what the key is for.
    template <class T>
    void zero_or_range(std::string_view key, T value, std::uint64_t min, std::uint64_t max) {
        if (value == 0 || (value >= min && value <= max)) return;
        add(key, fmt::format("must be 0 (off), or from {} to {}, not {}", min, max, value));
    }
    std::vector<std::string> take() { return std::move(all_); }

 private:
    std::vector<std::string> all_;
};

bool is_tls_mode(std::string_view mode) {
    return std::find(kTlsModes.begin(), kTlsModes.end(), mode) != kTlsModes.end();
}

void check_tls_mode(Problems& problems, const PgConnectionConfig& connection,
                    const std::string& key) {
    const std::string mode = tls_mode_of(connection);
    const std::string of_url = url_value(connection.url, "sslmode");
    const bool is_of_url = !of_url.empty() && mode == of_url;
    if (!is_tls_mode(mode)) {
        // What stands in a url is not repeated: it may be a part of the password.
        problems.add(key + (is_of_url ? ".url" : ".tls.mode"),
                     fmt::format("{}must be one of {}{}", is_of_url ? "its sslmode " : "",
                                 fmt::join(kTlsModes, ", "),
                                 is_of_url ? "" : fmt::format(", not \"{}\"", mode)));
    }
    const bool is_never_verified = mode == "disable" || mode == "allow" || mode == "prefer";
    if (is_never_verified && !connection.tls.trusted_root_certs.empty()) {
        problems.add(key + ".tls.trusted_root_certs",
                     fmt::format("has no effect with {} {}; use verify-full",
                                 is_of_url ? "the url's sslmode" : "tls.mode", mode));
    }
}

void check_connection(Problems& problems, const PgConnectionConfig& connection) {
    const std::string key = "pg_connection";
    if (connection.url.empty()) {
        std::vector<std::string_view> missing;
        if (connection.host.empty()) missing.push_back("host");
        if (connection.name.empty()) missing.push_back("name");
        if (connection.username.empty()) missing.push_back("username");
        if (missing.size() == 3) {
            problems.add(key,
                         "is required; give url, for example "
                         "\"postgres://user@host:5432/db\", or host, name and username");
        } else {
            for (const std::string_view name : missing) {
                problems.add(fmt::format("{}.{}", key, name), "is required where there is no url");
            }
        }
    } else if (!connection.url.starts_with("postgres://") &&
               !connection.url.starts_with("postgresql://")) {
        problems.add(key + ".url", "must begin with postgres:// or postgresql://");
    }
    // A url or a connection string may hold a password, which host would show to everybody.
    if (connection.host.find("://") != std::string::npos ||
        connection.host.find('=') != std::string::npos) {
        problems.add(key + ".host", "must be a name, an address or a folder; a url goes into url");
    }
    check_tls_mode(problems, connection, key);
    if (connection.tls.client_cert.empty() != connection.tls.client_key.empty()) {
        const bool key_missing = connection.tls.client_key.empty();
        problems.add(
            fmt::format("{}.tls.{}", key, key_missing ? "client_key" : "client_cert"),
            fmt::format("is required beside {}", key_missing ? "client_cert" : "client_key"));
    }
    problems.range(key + ".keepalive.idle_secs", connection.keepalive.idle_secs, 1, 7200);
    problems.range(key + ".keepalive.interval_secs", connection.keepalive.interval_secs, 1, 7200);
    problems.range(key + ".keepalive.retries", connection.keepalive.retries, 1, 100);
}

void check_tables(Problems& problems, const TableSyncCopyConfig& config) {
    const bool named = config.type == TableSyncCopyType::include_tables ||
                       config.type == TableSyncCopyType::skip_tables;
    if (named && config.tables.empty()) {
        problems.add("table_sync_copy.tables",
                     "is required for this type; for example [public.orders, \"audit.*\"]");
    }
    if (!named && !config.tables.empty()) {
        problems.add("table_sync_copy.tables",
                     "has an effect only for include_tables and skip_tables; remove it, or change "
                     "table_sync_copy.type");
    }
    for (const std::string& pattern : config.tables) {
        const std::size_t dot = pattern.find('.');
        if (dot == std::string::npos || dot == 0 || dot + 1 == pattern.size()) {
            problems.add("table_sync_copy.tables",
                         fmt::format("\"{}\" must name schema and table; for example public.orders "
                                     "or \"audit.*\"",
                                     pattern));
        }
    }
}

void check_kindness(Problems& problems, const PipelineConfig& config) {
    // Less would be slower than the smallest range that is read at once.
    problems.zero_or_range("copy_max_bytes_per_second", config.copy_max_bytes_per_second, 64 << 10,
                           1ULL << 40);
    // Below some segments of WAL every slot holds back as much.
    problems.zero_or_range("max_slot_lag_bytes", config.max_slot_lag_bytes, 1 << 20, 1ULL << 60);
    if (config.slot_lag_behavior == SlotLagBehavior::drop_slot && config.max_slot_lag_bytes == 0) {
        problems.add(
            "slot_lag_behavior",
            "drop_slot has no effect without max_slot_lag_bytes; set that, or remove this");
    }
    problems.zero_or_range("max_snapshot_age_secs", config.max_snapshot_age_secs, 1, 31'536'000);
    problems.zero_or_range("heartbeat_interval_ms", config.heartbeat_interval_ms, 100, 86'400'000);
}

}  // namespace

std::vector<std::string> PipelineConfig::problems() const {
    Problems problems;
    if (id == 0) problems.add("id", "is required; any whole number from 1 up");
    if (publication_name.empty()) {
        problems.add("publication_name", "is required; the name of a publication of the source");
    } else if (publication_name.size() > 63) {
        problems.add("publication_name", "is longer than the 63 bytes that Postgres allows");
    }
    check_connection(problems, pg_connection);
    problems.range("batch.max_fill_ms", batch.max_fill_ms, 1, 600'000);
    // A column's offsets have 32 bits, so a batch stays well below 2 GiB.
    problems.range("batch.max_bytes", batch.max_bytes, 1, 1ULL << 30);
    problems.ratio("batch.memory_budget_ratio", batch.memory_budget_ratio);
    problems.range("table_error_retry_delay_ms", table_error_retry_delay_ms, 1, 86'400'000);
    problems.range("table_error_retry_max_attempts", table_error_retry_max_attempts, 0, 1'000'000);
    problems.range("max_table_sync_workers", max_table_sync_workers, 1, 64);
    problems.range("max_copy_connections_per_table", max_copy_connections_per_table, 1, 64);
    problems.range("memory_refresh_interval_ms", memory_refresh_interval_ms, 10, 60'000);
    if (memory_backpressure) {
        const auto& [activate, resume] = *memory_backpressure;
        problems.ratio("memory_backpressure.activate_threshold", activate);
        problems.ratio("memory_backpressure.resume_threshold", resume);
        if (resume >= activate) {
            problems.add(
                "memory_backpressure.resume_threshold",
                fmt::format("must be below activate_threshold ({}), not {}", activate, resume));
        }
    }
    check_tables(problems, table_sync_copy);
    problems.range("copy_lock_yield_ms", copy_lock_yield_ms, 10, 600'000);
    check_kindness(problems, *this);
    return problems.take();
}

}  // namespace walbrook
