// A pipeline into a destination of one's own (journal_destination.h), which ends when
// everything that was committed before its start is in the journal:
//     custom_destination postgres://user@host/db PUBLICATION FOLDER

#include "journal_destination.h"

#include <cstdio>
#include <walbrook/pipeline.h>
#include <walbrook/stores.h>

using namespace walbrook;

int main(int argc, char** argv) {
    if (argc != 4)
        return std::fprintf(stderr, "usage: custom_destination URL PUBLICATION FOLDER\n"), 64;
    PipelineConfig config;
    config.id = 2;
    config.pg_connection.url = argv[1];
    config.publication_name = argv[2];
    config.work_dir = std::string(argv[3]) + "/work";

    PipelineOptions options;
    options.until_caught_up = true;
    options.log = [](const LogRecord& line) { std::fprintf(stderr, "%s\n", line.message.c_str()); };

    // The journal keeps its position, so a store that forgets is enough.
    auto pipeline =
        Pipeline::create(config, make_memory_store(), make_journal_destination(argv[3]), options);
    Status status = pipeline.status();
    if (status) status = (*pipeline)->start();
    if (status) status = (*pipeline)->wait();
    if (!status) std::fprintf(stderr, "custom_destination: %s\n", status.error().message().c_str());
    return status ? 0 : 1;
}
