// Uses every library that is installed, and includes every public header.

#include <walbrook/arrow_c.h>
#include <walbrook/destinations.h>
#include <walbrook/events.h>
#include <walbrook/pipeline.h>
#include <walbrook/stores.h>

#include <cstdio>
#include <string>

using namespace walbrook;

int main(int argc, char** argv) {
    const std::string folder = argc > 1 ? argv[1] : ".";
    // A configuration without anything is refused before anything is touched.
    const auto refused =
        Pipeline::create(PipelineConfig{}, make_memory_store(), BlackholeDestination::create());
    if (refused || refused.error().code() != ErrorCode::config) return 1;
    const auto store = make_sqlite_store(folder + "/state.db");
    if (!store->open({1, "none"})) return 2;
#ifdef WITH_DUCKLAKE
    // DuckDB and its extensions are where the package put them.
    const auto lake = make_ducklake_destination({folder + "/catalog.sqlite", folder + "/data"});
    PipelineIdentity who;
    who.pipeline_id = 1;
    who.work_dir = folder;
    const auto opened = lake->open(who, {});
    if (!opened) {
        std::fprintf(stderr, "consumer: %s\n", opened.error().message().c_str());
        return 3;
    }
    if (!lake->close()) return 4;
#endif
    std::puts("consumer: ok");
    return 0;
}
