#include "walbrook/destinations.h"
#include "walbrook/testing/conformance.h"

namespace walbrook {
namespace {

class MemoryHarness final : public testing::DestinationHarness {
 public:
    std::unique_ptr<Destination> create() override { return MemoryDestination::create(lake_); }
    std::optional<std::vector<testing::TextRow>> read(const TableSchema& table) override {
        return MemoryDestination::create(lake_)->read(table.schema, table.name);
    }

 private:
    std::shared_ptr<MemoryLake> lake_ = MemoryDestination::make_lake();
};

[[maybe_unused]] const bool registered =
    testing::register_conformance("memory", [] { return std::make_unique<MemoryHarness>(); });

}  // namespace
}  // namespace walbrook
