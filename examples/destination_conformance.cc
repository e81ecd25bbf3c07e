// The conformance suite for a destination: replace the two lines that name MemoryDestination.

#include <walbrook/destinations.h>
#include <walbrook/testing/conformance.h>

using namespace walbrook;

struct Harness : testing::DestinationHarness {
    std::shared_ptr<MemoryLake> lake_ = MemoryDestination::make_lake();
    std::unique_ptr<Destination> create() override { return MemoryDestination::create(lake_); }
    std::optional<std::vector<testing::TextRow>> read(const TableSchema& table) override {
        return MemoryDestination::create(lake_)->read(table.schema, table.name);
    }
};

const bool registered =
    testing::register_conformance("memory", [] { return std::make_unique<Harness>(); });
