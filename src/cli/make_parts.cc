#include "cli/make_parts.h"

#include "walbrook/destinations.h"
#include "walbrook/stores.h"

namespace walbrook {

std::unique_ptr<Store> make_store(const ProgramConfig& config) {
    switch (config.store.type) {
        case StoreType::memory:
            return make_memory_store();
        case StoreType::sqlite:
            return make_sqlite_store(config.store.path);
        case StoreType::postgres:
            return make_postgres_store(
                config.store_pg_connection.value_or(config.pipeline.pg_connection));
    }
    return nullptr;
}

std::unique_ptr<Destination> make_destination(const ProgramConfig& config) {
    switch (config.destination) {
#ifdef WALBROOK_WITH_DUCKLAKE
        case DestinationKind::ducklake:
            return make_ducklake_destination(config.ducklake);
#else
        case DestinationKind::ducklake:  // Refused when the configuration was read.
#endif
        case DestinationKind::blackhole:
        case DestinationKind::none:
            return BlackholeDestination::create();
    }
    return nullptr;
}

}  // namespace walbrook
