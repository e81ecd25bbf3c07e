#pragma once

#include "support/temp_dir.h"
#include "walbrook/testing/conformance.h"

#include <memory>
#include <optional>
#include <vector>

namespace walbrook::testing {

// The destination of the examples over a folder of its own. A reader of a journal makes the tables
// that its lines tell of.
class JournalHarness : public DestinationHarness {
 public:
    std::unique_ptr<Destination> create() override;
    std::optional<std::vector<TextRow>> read(const TableSchema& table) override;

    // What a journal cannot do.
    static std::vector<Limit> limits();

 private:
    TempDir folder_;
};

}  // namespace walbrook::testing
