// Keeps the tables of a publication in a DuckLake until SIGINT or SIGTERM:
//     first_pipeline postgres://user@host/db PUBLICATION FOLDER

#include <cstdio>
#include <signal.h>
#include <string>
#include <walbrook/destinations.h>
#include <walbrook/pipeline.h>
#include <walbrook/stores.h>

using namespace walbrook;

int fail(const Error& error) {
    std::fprintf(stderr, "first_pipeline: %s\n", error.message().c_str());
    return 1;
}

int main(int argc, char** argv) {
    if (argc != 4)
        return std::fprintf(stderr, "usage: first_pipeline URL PUBLICATION FOLDER\n"), 64;
    const std::string folder = argv[3];
    sigset_t signals;  // Blocked in every thread that the pipeline will start.
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);

    PipelineConfig config;
    config.id = 1;  // Names the replication slot: walbrook_1.
    config.publication_name = argv[2];
    config.work_dir = folder + "/work";
    config.pg_connection = PgConnectionConfig{.url = argv[1]};
    config.pg_connection.tls = TlsConfig{.mode = "prefer"};
    config.pg_connection.keepalive = TcpKeepaliveConfig{.idle_secs = 30};
    config.batch = BatchConfig{.max_fill_ms = 500, .max_bytes = 8 << 20};
    config.table_error_retry_delay_ms = 10'000;
    config.table_error_retry_max_attempts = 5;
    config.max_table_sync_workers = 4;
    config.memory_backpressure = MemoryBackpressureConfig{};
    config.table_sync_copy = TableSyncCopyConfig{.type = TableSyncCopyType::include_all_tables};
    config.invalidated_slot_behavior = InvalidatedSlotBehavior::error;

    // The lake keeps its position itself, so a store that forgets is enough here.
    auto destination = make_ducklake_destination({folder + "/catalog.sqlite", folder + "/data"});
    auto pipeline = Pipeline::create(config, make_memory_store(), std::move(destination));
    if (!pipeline) return fail(pipeline.error());
    if (Status started = (*pipeline)->start(); !started) return fail(started.error());
    int signal = 0;
    sigwait(&signals, &signal);
    (*pipeline)->shutdown();
    if (Status ended = (*pipeline)->wait(); !ended) return fail(ended.error());
    return 0;
}
