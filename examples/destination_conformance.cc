// The conformance suite for a destination: replace the two lines that name MemoryDestination, and
// leave out the one that says that its tables are gone with the process.

#include <walbrook/destinations.h>
#include <walbrook/testing/conformance.h>

using namespace walbrook;

struct Harness : testing::DestinationHarness {
    std::shared_ptr<MemoryLake> lake_ = MemoryDestination::make_lake();
    bool can_be_killed() const override { return false; }
    std::unique_ptr<Destination> create() override { return MemoryDestination::create(lake_); }
    std::optional<std::vector<testing::TextRow>> read(const TableSchema& table) override {
        return MemoryDestination::create(lake_)->read(table.schema, table.name);
    }
};

const bool registered =
    testing::register_conformance("memory", [] { return std::make_unique<Harness>(); });
