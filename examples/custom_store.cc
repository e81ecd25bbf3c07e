// A pipeline with a store of one's own (file_store.h), which ends when it has caught up:
//     custom_store postgres://user@host/db PUBLICATION FOLDER

#include "file_store.h"

#include <cstdio>
#include <walbrook/destinations.h>
#include <walbrook/pipeline.h>

using namespace walbrook;

int main(int argc, char** argv) {
    if (argc != 4) return std::fprintf(stderr, "usage: custom_store URL PUBLICATION FOLDER\n"), 64;
    PipelineConfig config;
    config.id = 3;
    config.pg_connection.url = argv[1];
    config.publication_name = argv[2];
    config.work_dir = std::string(argv[3]) + "/work";
    PipelineOptions options;
    options.until_caught_up = true;

    auto blackhole = BlackholeDestination::create();
    auto pipeline = Pipeline::create(config, make_file_store(std::string(argv[3]) + "/store.json"),
                                     std::move(blackhole), options);
    Status status = pipeline.status();
    if (status) status = (*pipeline)->start();
    if (status) status = (*pipeline)->wait();
    if (!status) {
        std::fprintf(stderr, "custom_store: %s\n", status.error().message().c_str());
        return 1;
    }
    const PipelineStatus last = (*pipeline)->status();
    std::printf("%zu tables, durable at %s\n", last.tables.size(), to_string(last.durable).c_str());
    return 0;
}
