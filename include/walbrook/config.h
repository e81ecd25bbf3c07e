#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace walbrook {

// The structs carry the key names of walbrook.yaml; docs/configuration.md has the
// same list with examples. problems() names every violation at once, each beginning
// with its key, so that an operator mends a file in one round.

struct TlsConfig {
    // disable, allow, prefer, require, verify-ca, verify-full (libpq's sslmode). Beside
    // certificates prefer means verify-full.
    std::string mode = "prefer";
    // PEM text or a path; empty: libpq's defaults.
    std::string trusted_root_certs{};
    std::string client_cert{};
    std::string client_key{};
};

struct TcpKeepaliveConfig {
    std::uint32_t idle_secs = 30;
    std::uint32_t interval_secs = 10;
    std::uint32_t retries = 3;
};

// Where the source is. Either `url` (postgres://user@host:port/db, libpq's form) or
// the single values; a value given beside a url wins over the url's.
struct PgConnectionConfig {
    std::string url{};
    std::string host{};
    std::uint16_t port = 0;  // 0: 5432
    std::string name{};      // Database.
    std::string username{};
    std::string password{};
    TlsConfig tls{};
    TcpKeepaliveConfig keepalive{};
};

struct BatchConfig {
    std::uint32_t max_fill_ms = 500;       // A change waits at most this long for its flush.
    std::uint64_t max_bytes = 8ULL << 20;  // A flush closes at this size.
    double memory_budget_ratio = 0.2;      // Share of memory for all batches.
};

struct MemoryBackpressureConfig {
    double activate_threshold = 0.85;  // Of the memory limit: reading pauses above,
    double resume_threshold = 0.75;    // and goes on below.
};

enum class TableSyncCopyType { include_all_tables, skip_all_tables, include_tables, skip_tables };

// Which tables are copied before they are followed. `tables`: names or patterns
// ("public.*") for the last two types.
struct TableSyncCopyConfig {
    TableSyncCopyType type = TableSyncCopyType::include_all_tables;
    std::vector<std::string> tables{};
};

// What happens when the slot was lost: stop with an error, or recreate it and copy
// every table again.
enum class InvalidatedSlotBehavior { error, recreate };

// What happens to a table whose change cannot be followed in place (a new type, a rewriting
// ALTER TABLE): it is copied again by itself, or it is errored until the operator says so.
enum class SchemaChangePolicy { resync, stop };

// What happens when the slot holds back more than max_slot_lag_bytes: say so, or give the slot
// up, so that the source's disk cannot fill.
enum class SlotLagBehavior { warn, drop_slot };

struct PipelineConfig {
    std::uint64_t id = 0;  // Required, above 0: names the slot walbrook_<id> and all records.
    std::string publication_name{};  // Required: an existing publication.
    PgConnectionConfig pg_connection{};
    std::string
        work_dir{};  // Default ./walbrook-<id>; spill files and the control socket, mode 0700.
    BatchConfig batch{};
    std::uint64_t table_error_retry_delay_ms = 10'000;
    std::uint32_t table_error_retry_max_attempts = 5;
    std::uint16_t max_table_sync_workers = 4;          // Tables copied at once.
    std::uint16_t max_copy_connections_per_table = 4;  // Connections a table.
    std::uint32_t memory_refresh_interval_ms = 100;
    std::optional<MemoryBackpressureConfig> memory_backpressure = MemoryBackpressureConfig{};
    TableSyncCopyConfig table_sync_copy{};
    InvalidatedSlotBehavior invalidated_slot_behavior = InvalidatedSlotBehavior::error;
    SchemaChangePolicy schema_change_policy = SchemaChangePolicy::resync;
    std::uint32_t copy_lock_yield_ms =
        2000;  // A user's DDL waits at most about this long for a copy.
    // All copies together read no more COPY data than this from the source; 0: no limit.
    std::uint64_t copy_max_bytes_per_second = 0;
    // WAL that the slot may hold back at the source before slot_lag_behavior acts; 0: no limit.
    std::uint64_t max_slot_lag_bytes = 0;
    SlotLagBehavior slot_lag_behavior = SlotLagBehavior::warn;
    // A copy whose snapshot is older begins again in ranges of its key, with a snapshot for each;
    // where that cannot be, it is named as a problem. 0: any age.
    std::uint64_t max_snapshot_age_secs = 0;
    // How often a tiny logical message is written to the source's log; 0: never.
    std::uint32_t heartbeat_interval_ms = 0;
    // The slot follows to a promoted standby that synchronizes slots (17 and newer).
    bool failover_slot = true;

    std::string slot_name() const { return "walbrook_" + std::to_string(id); }
    // Every violation at once: "pipeline.id: is required …".
    std::vector<std::string> problems() const;
};

}  // namespace walbrook
